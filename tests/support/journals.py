"""An empty journal, and what it records of received objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.journal.journal import Journal
from node.journal.rows import NewInstance
from tests.support.clock import Clock


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", clock)
    yield opened
    opened.close()


@pytest.fixture
def facts(tmp_path: Path) -> Callable[..., NewInstance]:
    """Objects of series 1.2.3 in study 1.2.1, by number and digest."""

    def make(number: int, digest: str = "", **changes: Any) -> NewInstance:
        name = digest or f"d{number}"
        path = tmp_path / "spool" / f"{name}.dcm"
        made = NewInstance(
            f"1.2.3.{number}", "1.2", "1.2.1", "1.2.3", name, "1.2.840", path, 7, "MR1"
        )
        return replace(made, **changes)

    return make
