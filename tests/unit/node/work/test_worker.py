from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg.errors import SeriesRefused
from dicomseg.read import header as headers
from dicomseg.segmentation import EngineInfo, NotInView
from node.cluster.dispatch import Deadlines, Dispatcher
from node.config.file import read_config
from node.errors import AttemptLost, ClusterAway
from node.event_log import EventLog
from node.journal.journal import Journal
from node.journal.results import ResultTable
from node.journal.rows import NewInstance, SeriesRow
from node.journal.series import SeriesTable
from node.journal.states import SeriesEvent, SeriesState
from node.work import results, worker
from node.work.heartbeat import Heartbeat
from node.work.worker import Worker
from tests.support.machines import FakeMachines
from tests.support.mr_series import KEY
from tests.support.workers import CONFIG, claim, select

INFO = EngineInfo("test", "1", "d" * 64, "oracle", "float32")


@pytest.fixture
def journal(tmp_path: Path, clock: Any) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "state" / "journal.sqlite", clock)
    yield opened
    opened.close()


@pytest.fixture
def made(tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A worker whose science is a stub; `answer` is what it finds, `runs` how often it was asked."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    made = SimpleNamespace(
        runs=0, answer=None, before=lambda: None, log=StringIO(), predecessors=[], fault=None
    )

    def process_series(grid: Any, model: Any, settings: Any, *_: Any) -> Any:
        made.runs += 1
        made.predecessors.append(settings.predecessor)
        made.before()
        if isinstance(made.answer, Exception):
            raise made.answer
        files = {"result.json": b"{}", "seg.dcm": b"x"}
        return made.answer or SimpleNamespace(files=files, fault=made.fault)

    monkeypatch.setattr(results, "process_series", process_series)
    made.worker = Worker(
        read_config(path),
        journal,
        SimpleNamespace(info=INFO),  # type: ignore[arg-type]
        "w1",
        EventLog("test", made.log).event,
    )
    return made


def _work(made: SimpleNamespace, journal: Journal, name: str = "w1/1") -> SeriesRow:
    made.worker.work_on(claim(journal, name), threading.Event())
    return journal.series.get(KEY)


def test_result_is_published_with_a_delivery_per_destination(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    assert _work(made, journal).state is SeriesState.ENCODED
    (result,) = journal.results.of_series(KEY)
    assert (result.folder / "seg.dcm").read_bytes() == b"x"
    assert result.folder.parent == tmp_path / "state" / "results"
    assert [d.destination for d in journal.deliveries.of_series(KEY)] == ["out"]


def test_a_newer_result_ends_the_open_delivery_of_the_older_and_that_is_logged(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    journal.request_retry(KEY.series, force=True)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    _work(made, journal, "w1/2")
    old, _ = journal.results.of_series(KEY)
    assert [d.state for d in journal.deliveries.of_series(KEY)] == ["dead", "pending"]
    (line,) = [json.loads(x) for x in made.log.getvalue().splitlines() if "Superseded" in x]
    assert (line["destination"], line["result"]) == ("out", old.result_id)


def test_a_fault_of_drawing_is_logged_and_costs_no_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    made.fault = ValueError("a name of a patient")
    assert _work(made, journal).state is SeriesState.ENCODED
    (line,) = [json.loads(x) for x in made.log.getvalue().splitlines()]
    assert (line["event"], line["step"], line["series"]) == ("RowFailed", "draw", KEY.series)
    assert "ValueError" in line["error"]
    assert "patient" not in made.log.getvalue()


def test_same_input_finds_its_folder_and_is_not_computed_twice(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    journal.request_retry(KEY.series)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    assert _work(made, journal, "w1/2").state is SeriesState.ENCODED
    assert made.runs == 1
    assert len(journal.results.of_series(KEY)) == len(journal.deliveries.of_series(KEY)) == 1


def test_forced_retry_makes_another_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    journal.request_retry(KEY.series, force=True)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    _work(made, journal, "w1/2")
    first, second = journal.results.of_series(KEY)
    assert made.runs == 2
    assert first.result_id != second.result_id
    assert (first.attempt, second.attempt) == (0, 1)


def test_late_slices_make_a_result_that_names_the_first(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15)
    select(journal, paths[:14])
    _work(made, journal)
    select(journal, paths[14:])
    _work(made, journal, "w1/2")
    first, second = journal.results.of_series(KEY)
    assert [p and p.result_id for p in made.predecessors] == [None, first.result_id]
    journal.request_retry(KEY.series)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    _work(made, journal, "w1/3")
    assert [r.result_id for r in journal.results.of_series(KEY)] == [
        first.result_id,
        second.result_id,
    ]


def test_forced_retry_that_was_answered_is_not_answered_again(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    for token, force in (("w1/2", True), ("w1/3", False)):
        journal.request_retry(KEY.series, force=force)
        journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
        _work(made, journal, token)
    first, second = journal.results.of_series(KEY)
    assert made.runs == 2
    assert [p and p.result_id for p in made.predecessors] == [None, first.result_id]
    assert second.attempt == 1


def test_killed_after_the_folder_and_before_the_journal_ends_in_the_same_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    monkeypatch.setattr(ResultTable, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _work(made, journal)
    monkeypatch.undo()
    (folder,) = (tmp_path / "state" / "results").iterdir()
    journal.series.advance(KEY, SeriesEvent.CLAIM_LOST)
    assert _work(made, journal, "w2/1").state is SeriesState.ENCODED
    assert [r.folder for r in journal.results.of_series(KEY)] == [folder]


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (NotInView(), SeriesState.SKIPPED, "L4/5 not in the field of view"),
        (
            SeriesRefused("all 9 voxels are 0; nothing can be seen"),
            SeriesState.FAILED,
            "all 9 voxels",
        ),
        (RuntimeError("secret"), SeriesState.FAILED, "unexpected RuntimeError; see the log"),
    ],
)
def test_other_answers_end_the_series_with_a_reason(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, answer: Any, state: Any, reason: str
) -> None:  # fmt: skip
    select(journal, write_series(tmp_path / "a"))
    made.answer = answer
    row = _work(made, journal)
    assert row.state is state
    assert reason in row.reason


def test_gaps_seen_by_the_worker_fail_with_their_numbers(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=20)
    select(journal, [*paths[:9], *paths[10:]])
    row = _work(made, journal)
    assert row.state is SeriesState.FAILED
    assert "1 of 20 slices missing" in row.reason
    assert made.runs == 0


def test_late_slice_wins_over_the_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15)
    select(journal, paths[:14])

    def late() -> None:
        one = headers.read_instance(paths[14])
        journal.instances.add(
            NewInstance(one.sop_instance_uid, "", *KEY, one.digest, "", paths[14], 1)
        )

    made.before = late
    assert _work(made, journal).state is SeriesState.RECEIVING
    assert journal.results.of_series(KEY) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "OSError: No space left on device"),
        (sqlite3.OperationalError("database is locked"), "OperationalError: database is locked"),
    ],
)
def test_fault_of_the_machine_puts_the_series_off_and_is_no_attempt(
    made: Any, journal: Journal, clock: Any, tmp_path: Path, write_series: Any, monkeypatch: Any,
    error: Exception, reason: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(worker, "time", SimpleNamespace(time=clock.wall))
    select(journal, write_series(tmp_path / "a"))
    made.answer = error
    waits = []
    for attempt in (1, 2, 3, 4):
        row = _work(made, journal, f"w1/{attempt}")
        assert (row.state, row.fault, row.attempts) == (SeriesState.SELECTED, reason, 0)
        assert journal.series.claim("w1/0") is None  # not an obstacle for others
        waits.append(row.try_at - clock.wall())
        clock.pass_s(waits[-1] + 0.1)
    assert waits == pytest.approx([5, 10, 20, 40])
    made.answer = None
    assert _work(made, journal, "w1/5").state is SeriesState.ENCODED


def test_answer_waits_for_a_journal_that_another_program_holds(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(worker, "FAULT_WAIT_S", 0.01)
    select(journal, write_series(tmp_path / "a"))
    publish, busy = ResultTable.publish, [1, 2, 3]

    def sometimes(*given: Any) -> Any:
        if busy:
            busy.pop()
            raise sqlite3.OperationalError("database is locked")
        return publish(*given)

    monkeypatch.setattr(ResultTable, "publish", sometimes)
    row = _work(made, journal)
    assert (row.state, made.runs) == (SeriesState.ENCODED, 1)


def test_want_of_memory_counts_as_an_attempt(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    made.answer = MemoryError()
    for attempt in (1, 2, 3):
        row = _work(made, journal, f"w1/{attempt}")
    assert row.state is SeriesState.FAILED
    assert row.reason == "not enough memory, attempt 3 of 3"


def test_object_that_became_unreadable_is_set_aside_and_the_rest_judged_again(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15)
    select(journal, paths)
    paths[3].write_bytes(b"nonsense")
    row = _work(made, journal)
    assert (row.state, row.instances, made.runs) == (SeriesState.RECEIVING, 14, 0)
    (aside,) = journal.instances.quarantined()
    assert (aside.path, aside.reason[:22]) == (paths[3], "not a DICOM object (no")


def test_journal_that_is_held_does_not_end_the_worker(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(worker, "FAULT_WAIT_S", 0.01)
    monkeypatch.setattr(worker, "POLL_S", 0.01)
    select(journal, write_series(tmp_path / "a"))
    stopping, claim, busy = threading.Event(), SeriesTable.claim, [1, 2]

    def sometimes(*given: Any) -> Any:
        if busy:
            busy.pop()
            raise sqlite3.OperationalError("database is locked")
        stopping.set()
        return claim(*given)

    monkeypatch.setattr(SeriesTable, "claim", sometimes)
    made.worker.run(stopping)
    assert journal.series.get(KEY).state is SeriesState.ENCODED
    assert "Traceback" not in made.log.getvalue()


def test_heartbeat_keeps_a_claim_alive_and_ends_with_the_block(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    row = claim(journal)
    clock.pass_s(10)
    before = threading.active_count()
    with Heartbeat(journal, KEY, "w1/1", 0.01):
        limit = time.monotonic() + 10
        while journal.series.get(KEY).token_at == row.token_at and time.monotonic() < limit:
            time.sleep(0.01)
    assert journal.series.get(KEY).token_at == clock()
    assert threading.active_count() == before


def test_an_attempt_that_a_machine_lost_is_repeated_and_the_third_names_every_host(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    for number, host in enumerate(("gpu1/0/71", "gpu2/0/18", "gpu1/0/99"), 1):
        made.answer = AttemptLost(f"worker {host} ended")
        row = _work(made, journal, f"w1/{number}")
        assert row.state is (SeriesState.SELECTED if number < 3 else SeriesState.FAILED)
    assert row.reason == (
        "worker gpu1/0/71 ended, attempt 1 of 3; worker gpu2/0/18 ended, attempt 2 of 3;"
        " worker gpu1/0/99 ended, attempt 3 of 3"
    )


def test_only_losses_since_the_retry_are_named(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    for number in range(6):
        made.answer = AttemptLost(f"worker h{number} ended")
        row = _work(made, journal, f"w1/{number}")
        if number == 2:
            journal.request_retry(KEY.series)
            journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    assert row.state is SeriesState.FAILED
    assert [f"h{n}" in row.reason for n in range(6)] == [False, False, False, True, True, True]


def test_a_cluster_that_is_away_costs_no_attempt(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, clock: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    made.answer = ClusterAway("the scheduler tls://h:1 does not answer")
    row = _work(made, journal)
    assert (row.state, row.attempts, row.fault_step) == (SeriesState.SELECTED, 0, "work")
    assert row.fault == "the scheduler tls://h:1 does not answer"


def test_nothing_is_claimed_while_the_cluster_has_no_room(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    select(journal, write_series(tmp_path / "a"))
    fake = FakeMachines(slots=1)
    third = replace(made.worker, model=Dispatcher(fake, "w3", 3, Deadlines(60.0), {}))
    assert third._claim("w3/1") is None
    assert journal.series.get(KEY).state is SeriesState.SELECTED
    fake.slots = 2
    assert third._claim("w3/2") is not None
