"""A running node: a delivered series is purged by command, `doctor` agrees, and the same series comes again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.demo import servers
from tests.support.phantoms import Truth
from tests.support.sites import Site

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def _command(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [servers.command("lumbar-node"), *arguments, "--config", str(site.config)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def _events(site: Site) -> list[str]:
    lines = (site.folder / "node.log").read_text("utf-8").splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def _objects(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.dcm"))


def test_a_series_is_purged_beside_the_service_and_comes_again(
    site: Callable[..., Site], small_coded: Truth, oracle_bundle: Path
) -> None:
    here = site(bundle=oracle_bundle)
    here.send(small_coded.files)
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    (result,) = here.journal.results.of_series(row.key)
    state = here.folder / "state"

    dry: Any = json.loads(_command(here, "purge", row.key.series, "--json").stdout)
    assert not dry["purged"]
    assert dry["bytes"] > 1_000_000
    assert _objects(state / "spool") == len(small_coded.files)
    done = _command(here, "purge", row.key.series, "--yes")
    assert done.returncode == 0, done.stderr
    assert _objects(state / "spool") == 0
    assert not result.folder.exists()
    doctor = _command(here, "doctor")
    assert (doctor.returncode, doctor.stdout) == (0, "journal and disk agree\n")
    assert "files removed" in _command(here, "why", row.key.series).stdout
    retried = _command(here, "retry", row.key.series)
    assert retried.returncode == 3
    assert "send it again" in retried.stderr

    sent = _events(here).count("DeliverySent")
    here.send(small_coded.files)
    (again,) = here.wait(1)
    assert again.state == "delivered"
    (same,) = here.journal.results.of_series(again.key)
    assert (same.result_id, same.purged_at) == (result.result_id, None)
    assert same.folder.is_dir()
    assert _objects(state / "spool") == len(small_coded.files)
    assert _events(here).count("DeliverySent") == sent
    assert _command(here, "doctor").returncode == 0
    audited = _command(here, "audit", "verify")
    assert audited.returncode == 0, audited.stdout
    assert "files_purged" in _command(here, "audit", "show", "--json").stdout
