"""A state directory of every earlier version becomes today's: rows and states stay, and waiting work is done."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.errors import JournalTooNew
from node.journal import migrate as schema
from node.journal.journal import Journal
from node.journal.migrate import backup_path
from node.journal.rows import SeriesKey
from tests.support import old_states as old
from tests.support.old_states import (
    DELIVERED,
    ENCODED,
    FAILED,
    PROCESSING,
    REASONS,
    RECEIVING,
    SELECTED,
    STATES,
    VERSIONS,
    old_state,
    result_uid,
    series_uid,
    study_uid,
)  # fmt: skip
from tests.support.threaded_node import Running, until

EARLIER = VERSIONS[:-1]
FAULTS = 3
"""First version of the journal that notes what a step could not do with a series."""
WITH_OBJECTS = (RECEIVING, SELECTED, PROCESSING, ENCODED, DELIVERED)


@pytest.fixture
def objects(tmp_path: Path, write_series: Any) -> Mapping[int, list[Path]]:
    return {
        n: write_series(tmp_path / f"in{n}", series=series_uid(n), StudyInstanceUID=study_uid(n))
        for n in WITH_OBJECTS
    }


def _columns(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [r[1] for r in db.execute(f"PRAGMA table_info({table})")]


def _rows(path: Path, table: str, columns: list[str]) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2").fetchall()  # noqa: S608


def _version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def _key(number: int) -> SeriesKey:
    return SeriesKey(study_uid(number), series_uid(number))


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_and_states_of_every_version_are_kept(
    version: int, tmp_path: Path, objects: Mapping[int, list[Path]], clock: Any
) -> None:
    path = old_state(tmp_path / "state", version, objects).directory.journal
    tables = ("series", "instance", "result", "delivery", "event", "job", "promotion", "commitment", "commitment_request")  # fmt: skip
    # What was known only from a later version on may be filled in: the series of a quarantined object.
    filled = {("instance", "series_id")}
    columns = {t: [c for c in _columns(path, t) if (t, c) not in filled] for t in tables}
    before = {t: _rows(path, t, columns[t]) for t in tables if columns[t]}
    assert {"series", "instance", "result", "delivery", "event"} <= before.keys()

    journal = Journal.open(path, clock)
    for number, state in STATES.items():
        row = journal.series.get(_key(number))
        assert (row.state, row.reason) == (state, REASONS.get(number, ""))
        assert row.instances == len(objects.get(number, ()))
        assert len(journal.instances.of_series(_key(number))) == row.instances
        assert all(i.path.is_file() for i in journal.instances.of_series(_key(number)))
    assert [i.digest for i in journal.instances.quarantined()]
    assert journal.database.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    journal.close()
    for table, rows in before.items():
        after = _rows(path, table, columns[table])
        assert [r for r in rows if r not in after] == [], table
    assert _version(path) == VERSIONS[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_service_of_today_starts_on_it_and_finishes_what_waits(
    version: int,
    threaded_node: Running,
    objects: Mapping[int, list[Path]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = threaded_node
    path = old_state(node.state, version, objects).directory.journal
    node.start()
    journal = Journal.reading(path, time.time)
    until(lambda: journal.series.get(_key(ENCODED)).state == "delivered")
    until(lambda: journal.series.get(_key(RECEIVING)).state == "selected")
    assert journal.series.get(_key(PROCESSING)).state == "selected"  # the claim of an earlier life
    config = ["--config", str(node.path)]
    said = {}
    for command in (["status"], ["list"], ["why", series_uid(FAILED)], ["why", series_uid(DELIVERED)], ["jobs", "list"]):  # fmt: skip
        assert run([*command, "--json", *config]) in {0, 1}, command
        said[" ".join(command)] = json.loads(capsys.readouterr().out)
        assert run([*command, *config]) in {0, 1}, command
        capsys.readouterr()
    assert {s["series"] for s in said["list"]} >= {series_uid(n) for n in STATES}
    assert run(["doctor", *config]) == 1
    findings = capsys.readouterr().out
    journal.close()
    assert node.stop() == 0

    # What is wrong was wrong before: an object that cannot be read, a worker's disk. Every file is as its row says.
    kinds = {line.partition(":")[0] for line in findings.splitlines() if ": " in line}
    assert kinds == {"quarantined", *(("fault",) if version >= FAULTS else ())}, findings
    # The delivery that was open has arrived, and what had arrived is not sent again.
    delivered = sorted(p.name for p in (node.path.parent / "out").iterdir())
    assert delivered == [result_uid(ENCODED)]
    assert sorted(p.name for p in (node.path.parent / "out" / delivered[0]).iterdir()) == sorted(
        old.FILES
    )
    assert backup_path(path, version).exists() == (version in EARLIER)


def test_a_journal_of_a_later_version_is_refused_in_one_sentence_and_left_alone(
    threaded_node: Running, objects: Mapping[int, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = old_state(threaded_node.state, VERSIONS[-1], objects).directory.journal
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSIONS[-1] + 1}")
    before = path.read_bytes()
    for command in (["list"], ["status"], ["doctor"], ["retry", "--all-failed"], ["serve"]):
        assert run([*command, "--config", str(threaded_node.path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("install the newer version or restore a backup"), line
    assert path.read_bytes() == before
    with pytest.raises(JournalTooNew):
        Journal.open(path, time.time)


# ---- a migration that does not end ---------------------------------------------------------------


def _usable(path: Path, version: int) -> bool:
    """Whether a journal is that of a version, with every row."""
    with closing(sqlite3.connect(path)) as db:
        count = db.execute("SELECT count(*) FROM series").fetchone()[0]
        intact = db.execute("PRAGMA integrity_check").fetchone()[0]
    return (_version(path), count >= len(STATES), intact) == (version, True, "ok")


@pytest.mark.parametrize("version", [EARLIER[0], EARLIER[-1]])
def test_a_full_disk_in_a_migration_leaves_the_old_journal_usable(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_state(tmp_path / "state", version, {}).directory.journal

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "move_durably", full)
        with pytest.raises(Exception, match="No space left"):
            Journal.open(path, time.time)
    assert _usable(path, version)
    assert not list(path.parent.glob("*backup*"))
    assert not list(path.parent.glob("*.part"))

    # The copy is made, and then the journal itself cannot grow.
    steps = [(n, script) for n, script in schema.migrations()]
    limited = [*steps[:-1], (steps[-1][0], "PRAGMA max_page_count = 1;\nCREATE TABLE more (a);\nINSERT INTO more SELECT zeroblob(1000000) FROM series;\n")]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", lambda: limited)
        with pytest.raises(Exception, match="full"):
            Journal.open(path, time.time)
    assert _usable(path, version)
    Journal.open(path, time.time).close()
    assert _usable(path, VERSIONS[-1])
    assert _usable(backup_path(path, version), version)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from node.journal import migrate
from node.journal.journal import Journal
last, real = migrate.migrations()[-1][0], migrate.statements
def statements(script):
    found = real(script)
    if script == migrate.migrations()[-1][1]:
        yield from found
        os.kill(os.getpid(), signal.SIGKILL)
    yield from found
migrate.statements = statements
Journal.open(Path(sys.argv[1]), time.time)
"""


def test_a_kill_in_a_migration_leaves_the_old_journal_usable(tmp_path: Path) -> None:
    path = old_state(tmp_path / "state", EARLIER[0], {}).directory.journal
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        check=False,
        capture_output=True,
        env=dict(os.environ),
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert _usable(path, EARLIER[0])
    assert _usable(backup_path(path, EARLIER[0]), EARLIER[0])
    Journal.open(path, time.time).close()
    assert _usable(path, VERSIONS[-1])
