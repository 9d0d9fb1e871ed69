"""The journal's file: versions, copies, other processes, readers that may not write, damage."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.errors import JournalDamaged, JournalOutdated, JournalTooNew, StateRefused
from node.journal import file as journal_file
from node.journal import migrate as schema
from node.journal.job_rows import JobPlan
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import SeriesEvent, SeriesState
from tests.support.mr_series import KEY

E = SeriesEvent
TOKEN = "w1.7.1/1"  # noqa: S105 - names a claim


def _to_encoded(journal: Journal, facts: Any, folder: Path) -> None:
    journal.instances.add(facts(1))
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    assert journal.series.claim(TOKEN) is not None
    journal.results.publish(KEY, TOKEN, ResultRow("r", folder, "m"), ["pacs"])


# ---- opening -------------------------------------------------------------------------------------


def test_moved_state_folder_keeps_its_paths(tmp_path: Path, facts: Any, clock: Any) -> None:
    before = Journal.open(tmp_path / "old" / "journal.sqlite", clock)
    path = tmp_path / "old" / "spool" / "a.dcm"
    _to_encoded(before, lambda n: facts(n, path=path), tmp_path / "old" / "results" / "r")
    before.close()
    (tmp_path / "old").rename(tmp_path / "new")
    after = Journal.open(tmp_path / "new" / "journal.sqlite", clock)
    assert after.instances.paths() == {str(tmp_path / "new" / "spool" / "a.dcm")}
    assert after.instances.of_series(KEY)[0].path == tmp_path / "new" / "spool" / "a.dcm"
    assert after.results.of_series(KEY)[0].folder == tmp_path / "new" / "results" / "r"
    assert after.deliveries.of_series(KEY)[0].folder == tmp_path / "new" / "results" / "r"
    after.close()


def test_journal_of_a_newer_version_is_refused(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(JournalTooNew, match="version 999"):
        Journal.open(path, clock)


def test_file_that_is_no_database_is_refused_with_its_path(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StateRefused, match=r"journal\.sqlite"):
        Journal.open(path, clock)


def test_failed_migration_leaves_the_version_and_no_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    monkeypatch.setattr(
        schema, "migrations", lambda: [(1, "CREATE TABLE a (b);\nCREATE TABLE a (b);\n")]
    )
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_two_openers_at_once_migrate_once(tmp_path: Path, clock: Any) -> None:
    failed: list[Exception] = []
    gate = threading.Barrier(6)

    def begin() -> None:
        gate.wait(10)
        try:
            Journal.open(tmp_path / "journal.sqlite", clock).close()
        except StateRefused as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []


def test_new_file_that_another_opener_writes_is_waited_for(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "journal.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    done.start()
    began = time.monotonic()
    journal = Journal.open(path, clock)
    assert time.monotonic() - began > 0.2
    assert journal.database.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    journal.close()
    done.join()
    other.close()


def test_file_that_stays_locked_is_refused_after_the_timeout(
    tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "journal.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateRefused, match=r"journal\.sqlite.*locked"):
        Journal.open(path, clock)
    other.close()


# ---- versions ------------------------------------------------------------------------------------


@pytest.fixture
def old_journal(tmp_path: Path) -> Path:
    """A journal of version 2 with one series of one object."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for number, script in schema.migrations()[:2]:
            db.executescript(script)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute(
            "INSERT INTO series (study, series, state, instances, first_at, last_at, state_at)"
            " VALUES ('1.2.1', '1.2.3', 'receiving', 1, 1, 2, 3)"
        )
        rows = (
            "INSERT INTO instance VALUES ('1.2.3.1', ?, ?, '1.2', '1.2.840', ?, 7, 'MR1', ?, ?, 2)"
        )
        db.execute(rows, ("d1", 1, "spool/d1.dcm", "stored", ""))
        db.execute(rows, ("d2", None, "quarantine/d2.dcm", "quarantined", "conflicting"))
        db.execute("INSERT INTO result VALUES ('r1', 1, 'results/r1', 'm', 0, 4)")
        db.execute(
            "INSERT INTO delivery VALUES (7, 'r1', 'pacs', 'waiting', 3, 99, 'no answer', 5)"
        )
        db.execute("INSERT INTO event VALUES (1, 5, 1, 7, 'transient_failure', 'waiting', '{}')")
    return path


def _version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_service_migrates_after_a_copy_that_is_private(old_journal: Path, clock: Any) -> None:
    journal = Journal.open(old_journal, clock)
    assert journal.series.get(KEY).fault == ""
    assert [i.digest for i in journal.instances.of_series(KEY)] == ["d1"]
    (delivery,) = journal.deliveries.of_series(KEY)
    assert (delivery.id, delivery.tries, delivery.next_try_at, delivery.detail) == (
        7, 3, 99, "no answer",
    )  # fmt: skip
    assert [e.delivery_id for e in journal.series.events(KEY)] == [7]
    (unused,) = journal.instances.quarantined()
    assert (unused.digest, unused.series) == ("d2", SeriesKey("", ""))
    assert journal.series.get(unused.series).state is SeriesState.QUARANTINED
    assert journal.database.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    journal.close()
    backup = old_journal.with_name("journal.sqlite.v2-backup")
    assert (_version(old_journal), _version(backup)) == (schema.migrations()[-1][0], 2)
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as db:
        assert db.execute("SELECT sop_instance FROM instance").fetchall() == [("1.2.3.1",)] * 2


def test_migration_takes_time_in_proportion_to_the_journal(old_journal: Path) -> None:
    def steps_with(results: int) -> int:
        counted = 0

        def count() -> None:
            nonlocal counted
            counted += 1

        with (
            closing(sqlite3.connect(old_journal)) as before,
            closing(sqlite3.connect(":memory:", isolation_level=None)) as db,
        ):
            before.backup(db)
            for n in range(results):
                db.execute("INSERT INTO result VALUES (?, 1, 'results/x', 'm', 0, 4)", (f"x{n}",))
                confirmed = (100 + n, f"x{n}")
                db.execute(
                    "INSERT INTO delivery VALUES (?, ?, 'pacs', 'confirmed', 1, 99, '', 5)",
                    confirmed,
                )
                for event in ("created", "peer_accepted", "proof_found"):
                    row = (100 + n, event)
                    db.execute("INSERT INTO event VALUES (NULL, 5, 1, ?, ?, 'x', '{}')", row)
            db.set_progress_handler(count, 100)
            schema.migrate(db)
        return counted

    # Four times the rows are four times the steps, a little more for the indexes; not sixteen times.
    assert steps_with(2000) < 6 * steps_with(500)


def test_new_journal_has_nothing_to_copy(tmp_path: Path, clock: Any) -> None:
    Journal.open(tmp_path / "journal.sqlite", clock).close()
    Journal.open(tmp_path / "journal.sqlite", clock).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.sqlite"]


@pytest.mark.parametrize("opened", [Journal.reading, Journal.writing])
def test_commands_leave_an_older_journal_alone(old_journal: Path, clock: Any, opened: Any) -> None:
    with pytest.raises(JournalOutdated, match=r"version 2, .* start `lumbar-node serve`"):
        opened(old_journal, clock)
    assert _version(old_journal) == 2


@pytest.mark.parametrize("opened", [Journal.reading, Journal.writing])
def test_commands_refuse_a_newer_journal_and_create_none(
    tmp_path: Path, clock: Any, opened: Any
) -> None:
    path = tmp_path / "journal.sqlite"
    with pytest.raises(StateRefused, match="no journal; start `lumbar-node serve`"):
        opened(path, clock)
    assert list(tmp_path.iterdir()) == []
    Journal.open(path, clock).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(JournalTooNew, match="version 999"):
        opened(path, clock)


def test_column_of_a_later_version_stops_nothing(
    journal: Journal, facts: Any, tmp_path: Path, clock: Any
) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db:
        tables = (
            "series",
            "instance",
            "result",
            "delivery",
            "event",
            "job",
            "job_event",
            "promotion",
        )
        for table in tables:
            db.execute(f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'x'")
    _to_encoded(journal, facts, tmp_path / "r")
    journal.instances.correct(facts(1, "new"))
    journal.instances.quarantine(facts(2), "cannot be read")
    job = journal.jobs.enqueue(JobPlan("cases", "held-out.json"), "MEIER")
    assert journal.jobs.in_states() == [job]
    assert (journal.series.get(KEY).state, journal.series.get(KEY).instances) == (
        SeriesState.RECEIVING,
        1,
    )
    assert [i.digest for i in journal.instances.unused(KEY)] == ["d1", "d2"]
    assert [d.destination for d in journal.deliveries.of_series(KEY)] == ["pacs"]
    assert [e.event for e in journal.series.events(KEY)][-1] == "instance_quarantined"


# ---- readers -------------------------------------------------------------------------------------


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_reader_beside_the_service_sees_what_is_new_and_writes_nothing(
    journal: Journal, facts: Any, tmp_path: Path, clock: Any
) -> None:
    journal.instances.add(facts(1))
    reader = Journal.reading(tmp_path / "journal.sqlite", clock)
    assert reader.series.get(KEY).instances == 1
    journal.instances.add(facts(2))
    assert reader.series.get(KEY).instances == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.instances.add(facts(3))
    reader.close()
    assert journal.series.get(KEY).instances == 2


def test_reader_of_a_stopped_node_creates_nothing(tmp_path: Path, facts: Any, clock: Any) -> None:
    path = tmp_path / "state" / "journal.sqlite"
    journal = Journal.open(path, clock)
    journal.instances.add(facts(1))
    journal.close()
    reader = Journal.reading(path, clock)
    assert reader.series.get(KEY).instances == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.instances.add(facts(3))
    reader.close()
    assert _names(path.parent) == ["journal.sqlite"]


def test_reader_after_a_kill_sees_what_was_committed(
    journal: Journal, facts: Any, tmp_path: Path, clock: Any
) -> None:
    journal.instances.add(facts(1))
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        shutil.copyfile(tmp_path / name, killed / name)
    reader = Journal.reading(killed / "journal.sqlite", clock)
    assert reader.series.get(KEY).instances == 1
    reader.close()
    assert _names(killed) == ["journal.sqlite", "journal.sqlite-wal"]


_READER = """
import sys
from pathlib import Path
from node.journal.journal import Journal
journal = Journal.reading(Path(sys.argv[1]), lambda: 0.0)
print([row.instances for row in journal.series.in_states()])
"""


@pytest.fixture
def shared(facts: Any, clock: Any) -> Iterator[tuple[Journal, Path]]:
    """A journal that every user of the machine may read, and none but its owner write."""
    if os.getuid() != 0:
        pytest.skip("only root can ask as another user")
    folder = Path(tempfile.mkdtemp(prefix="lumbar-test-"))
    journal = Journal.open(folder / "journal.sqlite", clock)
    journal.instances.add(facts(1))
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    yield journal, folder
    journal.close()
    shutil.rmtree(folder)


def _ask_as_another(path: Path) -> subprocess.CompletedProcess[str]:
    # As root up to the imports: the tests' own interpreter may lie where no other user may look.
    script = (
        "import os, node.journal.journal; node.journal.migrate.migrations(); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        + _READER
    )
    return subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_another_user_who_may_read_sees_the_journal(
    shared: tuple[Journal, Path], running: bool
) -> None:
    journal, folder = shared
    if not running:
        journal.close()
    before = _names(folder)
    asked = _ask_as_another(folder / "journal.sqlite")
    assert (asked.stdout.strip(), asked.stderr) == ("[1]", "")
    assert _names(folder) == before


@pytest.mark.slow
def test_another_user_who_may_not_read_is_told_what_to_do(shared: tuple[Journal, Path]) -> None:
    _, folder = shared
    for path in folder.iterdir():
        path.chmod(0o600)
    asked = _ask_as_another(folder / "journal.sqlite")
    assert (
        asked.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "the journal is in use and may not be read by this user;"
            " ask as the node's user, or as a member of the group of [node] state"
        )
    )


@pytest.mark.parametrize(("folder", "file"), [(0o750, 0o640), (0o700, 0o600), (0o770, 0o640)])
@pytest.mark.parametrize("before", [None, 0o600, 0o666], ids=["new", "private", "open"])
def test_journal_is_as_private_as_its_folder_whatever_the_umask(
    tmp_path: Path, clock: Any, facts: Any, folder: int, file: int, before: int | None
) -> None:
    path = tmp_path / "state" / "journal.sqlite"
    path.parent.mkdir()
    path.parent.chmod(folder)
    umask = os.umask(0o077)
    try:
        if before is not None:
            Journal.open(path, clock).close()
            path.chmod(before)
        journal = Journal.open(path, clock)
        journal.instances.add(facts(1))
        assert {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {
            f"journal.sqlite{ending}": file for ending in ("", "-wal", "-shm")
        }
        journal.close()
    finally:
        os.umask(umask)


# ---- damage --------------------------------------------------------------------------------------


def _damage(path: Path) -> None:
    """Overwrite everything behind the first page, as a failing disk does."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_damaged_page_is_one_sentence_with_the_repair(
    tmp_path: Path, facts: Any, clock: Any, capsys: Any
) -> None:
    path = tmp_path / "state" / "journal.sqlite"
    journal = Journal.open(path, clock)
    for number in range(50):
        journal.instances.add(facts(number))
    journal.close()
    _damage(path)
    with pytest.raises(
        JournalDamaged, match="stop the node and run `lumbar-node doctor --rebuild`"
    ):
        Journal.open(path, clock)
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{path.parent}"\n')
    for command in ("list", "status", "doctor"):
        assert run([command, "--config", str(config)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "the journal is damaged" in line
        assert "doctor --rebuild" in line


def test_journal_that_another_program_holds_is_said(
    tmp_path: Path, facts: Any, clock: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT_S", 0.1)
    journal = Journal.open(tmp_path / "journal.sqlite", clock)
    journal.instances.add(facts(1))
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{tmp_path}"\n')
    with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert run(["retry", KEY.series, "--config", str(config)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(
            "another program holds the journal (database is locked); end it, or ask again"
        )
        assert run(["list", "--config", str(config)]) == 0
    journal.close()


COMMANDS = (
    ("list",), ("status",), ("why", KEY.series), ("doctor",), ("jobs", "list"), ("models", "list"),
    ("retry", KEY.series), ("jobs", "enqueue", "1"), ("jobs", "cancel", "1"),
    ("models", "rollback", "--by", "MEIER", "--reason", "worse"),
    ("models", "promote", "1", "--by", "MEIER", "--reason", "better"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c[:2]))
def test_every_command_says_what_to_do_with_an_older_journal_and_leaves_it(
    old_journal: Path, tmp_path: Path, command: tuple[str, ...], capsys: Any
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{tmp_path}"\n')
    before = old_journal.read_bytes()
    assert run([*command, "--config", str(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("start `lumbar-node serve` of this version, which migrates it")
    assert old_journal.read_bytes() == before
    assert _names(tmp_path) == ["config.toml", "journal.sqlite"]
