"""Back-up and restore as docs/howto/back-up-restore.md has them: its commands are run as they are written there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from pydicom import dcmread

from node.journal.journal import Journal
from tests.support.phantoms import Truth
from tests.support.sites import Site

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "howto" / "back-up-restore.md"
SETTINGS: Final = "STATE=/var/lib/lumbar-node\nBACKUP=/backup/lumbar-node-2026-12-01\n"
needs_sqlite = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs sqlite3 (apt install sqlite3)")  # fmt: skip


def _block(heading: str) -> str:
    """Return the commands below a heading of the document."""
    chapter = DOCUMENT.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    found = re.search(r"^```\n(.*?)^```", chapter.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    assert found[1].startswith(SETTINGS), "the folders are the first two lines"
    return found[1]


def _run(here: Site, heading: str, state: Path, backup: Path, tools: Path) -> str:
    """Run the commands below a heading with other folders, and stand-ins for what only an installed node has."""
    script = _block(heading).replace(SETTINGS, f"STATE='{state}' BACKUP='{backup}'\n")
    path = f"{tools}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        env={**os.environ, "PATH": path, "LUMBAR_NODE_CONFIG": str(here.config)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    return ran.stdout


def _stand_ins(folder: Path) -> Path:
    """Write the commands of an installed machine: the node's own, systemctl, and chown without its user."""
    folder.mkdir()
    for name, does in (
        ("lumbar-node", f'exec {sys.executable} -m node "$@"'),
        ("systemctl", f'echo "$*" >> {folder}/systemctl.log'),
        ("chown", f'echo "$*" >> {folder}/chown.log'),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    return folder


def _another_series(sources: list[Path], out: Path) -> list[Path]:
    out.mkdir()
    for source in sources:
        ds = dcmread(source)
        ds.SeriesInstanceUID += ".2"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.2"
        ds.save_as(out / source.name)
    return sorted(out.iterdir())


def _history(journal: Journal) -> dict[str, list[tuple[str, str]]]:
    """Return every event of every series."""
    return {
        row.key.series: [(e.event, e.state) for e in journal.series.events(row.key)]
        for row in journal.series.in_states()
    }


def _for_others(folder: Path) -> list[Path]:
    """Return what other users may read below the folder."""
    return [p for p in folder.rglob("*") if p.stat().st_mode & 0o007]


def _times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.dcm")}


@needs_sqlite
def test_a_running_node_is_backed_up_and_restored_and_nothing_is_lost_or_sent_twice(
    site: Callable[..., Site], small_coded: Truth, oracle_bundle: Path, tmp_path: Path
) -> None:
    here = site(bundle=oracle_bundle)
    state, backup, tools = here.folder / "state", tmp_path / "backup", _stand_ins(tmp_path / "bin")
    delivered = here.folder / "delivered"
    second = _another_series(small_coded.files, tmp_path / "second")

    # One series is delivered, half of another has come. The backup is made while the node runs.
    here.send(small_coded.files)
    (first,) = here.wait(1)
    here.send(second[: len(second) // 2])
    at_backup = _history(here.journal)
    acknowledged = here.journal.instances.paths()
    _run(here, "Back up", state, backup, tools)
    assert backup.stat().st_mode & 0o777 == 0o700

    # More comes, and then the disk is lost.
    here.send(second[: 3 * len(second) // 4])
    here.stop()
    sent = _times(delivered)
    state.rename(tmp_path / "lost")

    said = _run(here, "Restore", state, backup, tools).splitlines()
    assert said[0] == "journal and disk agree"
    assert "intact" in said[1], said
    assert (tools / "systemctl.log").read_text().splitlines() == [
        "stop lumbar-node",
        "start lumbar-node",
    ]
    assert (tools / "chown.log").read_text() == f"-R lumbar-node:lumbar-node {state}\n"
    here.start()

    # Nothing that was acknowledged before the backup is missing.
    journal = here.journal
    assert journal.instances.paths() >= acknowledged
    assert all(Path(p).is_file() for p in acknowledged)
    assert (state.stat().st_mode & 0o777, _for_others(state)) == (0o750, [])
    after = _history(journal)
    assert {s: after[s][: len(events)] for s, events in at_backup.items()} == at_backup

    # The sender sends again what came after it. What was delivered is not delivered again.
    here.send(small_coded.files)
    here.send(second)
    (other,) = (r.key for r in journal.series.in_states() if r.key != first.key)
    ends_at = time.monotonic() + 120
    while journal.series.get(other).state == "receiving" and time.monotonic() < ends_at:
        time.sleep(0.2)
    assert journal.series.get(other).instances == len(second)
    assert sent.items() <= _times(delivered).items()
    assert _history(journal)[first.key.series] == at_backup[first.key.series]
