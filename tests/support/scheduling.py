"""Which tests share a process, and which begin first, where several processes share the tests."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TIERS: Final = ("install", "fault", "end_to_end", "integration", "contracts", "unit", "docs")
"""Tiers with the longest tests first."""


def share_of(nodeid: str) -> str:
    """Return which tests run in the same process as this one: its file's, and all that need the browser.

    A file's tests share servers; the browser's tests share Chromium, an archive and the patient in it.
    """
    file = nodeid.split("::", 1)[0]
    folder, name = PurePosixPath(file).parent, PurePosixPath(file).name
    return f"{folder}/test_browser" if name.startswith("test_browser_") else file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the shares that may take longest: what begins last decides how long a process waits for another.

    A share is as long as the longest `timeout` in it, then as its tier; its tests stay together.
    """
    if not hasattr(config, "workerinput"):
        return  # one process alone
    limits: dict[str, float] = {}
    for item in items:
        timeout = item.get_closest_marker("timeout")
        limit = timeout.args[0] if timeout else 0
        share = share_of(item.nodeid)
        limits[share] = max(limits.get(share, 0), limit)
    first = {share: n for n, share in enumerate(limits)}

    def order(item: pytest.Item) -> tuple[float, int, int]:
        share = share_of(item.nodeid)
        return -limits[share], TIERS.index(PurePosixPath(share).parts[1]), first[share]

    items.sort(key=order)


class ByShare(LoadScopeScheduling):
    """Give each process one share after the other, in the order of the items."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # not the share of the most tests first

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return one process more than cores for `--numprocesses auto`: many tests wait for servers."""
    return (os.cpu_count() or 1) + 1 if config.option.numprocesses == "auto" else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByShare | None:
    """Distribute by share where `--dist loadfile` is given."""
    return ByShare(config, log) if config.getvalue("dist") == "loadfile" else None
