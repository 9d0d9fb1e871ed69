from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg.errors import SeriesRefused
from dicomseg.read import header as headers
from dicomseg.segmentation import EngineInfo, NotInView
from node.config.file import read_config
from node.config.sections import WorkConfig
from node.events import EventLog
from node.journal.journal import Journal
from node.journal.results import ResultTable
from node.journal.rows import NewInstance, SeriesKey, SeriesRow
from node.journal.series import SeriesTable
from node.journal.states import SeriesEvent, SeriesState
from node.work import worker, worker_process
from node.work.step import Heartbeat, MemoryGuard, WorkStep
from node.work.worker import Worker
from node.work.worker_process import WorkerProcess

KEY = SeriesKey("1.2.1", "1.2.3")
INFO = EngineInfo("test", "1", "d" * 64, "oracle", "float32")
CONFIG = """
[node]
ae_title = "NODE"
[[node.destination]]
name = "out"
kind = "folder"
path = "out"
[work]
heartbeat_seconds = 0.05
[track]
quiet_seconds = 3.0
"""


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
        runs=0, answer=None, before=lambda: None, log=StringIO(), predecessors=[]
    )

    def process_series(grid: Any, model: Any, settings: Any, clock: Any) -> Any:
        made.runs += 1
        made.predecessors.append(settings.predecessor)
        made.before()
        if isinstance(made.answer, Exception):
            raise made.answer
        return made.answer or SimpleNamespace(files={"result.json": b"{}", "seg.dcm": b"x"})

    monkeypatch.setattr(worker, "process_series", process_series)
    made.worker = Worker(
        read_config(path),
        journal,
        SimpleNamespace(info=INFO),  # type: ignore[arg-type]
        "w1",
        EventLog("test", made.log),
    )
    return made


def _select(journal: Journal, paths: list[Path]) -> None:
    for path in paths:
        one = headers.read_instance(path)
        journal.instances.add(
            NewInstance(
                one.sop_instance_uid,
                one.sop_class_uid,
                one.study_uid,
                one.series_uid,
                one.digest,
                one.transfer_syntax_uid,
                path,
                1,
            )
        )
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)


def _claim(journal: Journal, name: str = "w1/1") -> SeriesRow:
    row = journal.series.claim(name)
    assert row is not None
    return row


def _work(made: SimpleNamespace, journal: Journal, name: str = "w1/1") -> SeriesRow:
    made.worker.work_on(_claim(journal, name), threading.Event())
    return journal.series.get(KEY)


def test_result_is_published_with_a_delivery_per_destination(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    assert _work(made, journal).state is SeriesState.ENCODED
    (result,) = journal.results.of_series(KEY)
    assert (result.folder / "seg.dcm").read_bytes() == b"x"
    assert result.folder.parent == tmp_path / "state" / "results"
    assert [d.destination for d in journal.deliveries.of_series(KEY)] == ["out"]


def test_same_input_finds_its_folder_and_is_not_computed_twice(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    journal.request_retry(KEY.series)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    assert _work(made, journal, "w1/2").state is SeriesState.ENCODED
    assert made.runs == 1
    assert len(journal.results.of_series(KEY)) == len(journal.deliveries.of_series(KEY)) == 1


def test_forced_retry_makes_another_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
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
    _select(journal, paths[:14])
    _work(made, journal)
    _select(journal, paths[14:])
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
    _select(journal, write_series(tmp_path / "a"))
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
    _select(journal, write_series(tmp_path / "a"))
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
    _select(journal, write_series(tmp_path / "a"))
    made.answer = answer
    row = _work(made, journal)
    assert row.state is state
    assert reason in row.reason


def test_gaps_seen_by_the_worker_fail_with_their_numbers(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=20)
    _select(journal, [*paths[:9], *paths[10:]])
    row = _work(made, journal)
    assert row.state is SeriesState.FAILED
    assert "1 of 20 slices missing" in row.reason
    assert made.runs == 0


def test_late_slice_wins_over_the_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15)
    _select(journal, paths[:14])

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
    _select(journal, write_series(tmp_path / "a"))
    made.answer = error
    waits = []
    for attempt in (1, 2, 3, 4):
        row = _work(made, journal, f"w1/{attempt}")
        assert (row.state, row.fault, row.attempts) == (SeriesState.SELECTED, reason, 0)
        assert journal.series.claim("w1/0") is None  # not in the way of others
        waits.append(row.try_at - clock.wall())
        clock.pass_s(waits[-1] + 0.1)
    assert waits == pytest.approx([5, 10, 20, 40])
    made.answer = None
    assert _work(made, journal, "w1/5").state is SeriesState.ENCODED


def test_answer_waits_for_a_journal_that_another_program_holds(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(worker, "FAULT_WAIT_S", 0.01)
    _select(journal, write_series(tmp_path / "a"))
    publish, busy = ResultTable.publish, [1, 2, 3]

    def sometimes(*given: Any) -> None:
        if busy:
            busy.pop()
            raise sqlite3.OperationalError("database is locked")
        publish(*given)

    monkeypatch.setattr(ResultTable, "publish", sometimes)
    row = _work(made, journal)
    assert (row.state, made.runs) == (SeriesState.ENCODED, 1)


def test_want_of_memory_counts_as_an_attempt(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    made.answer = MemoryError()
    for attempt in (1, 2, 3):
        row = _work(made, journal, f"w1/{attempt}")
    assert row.state is SeriesState.FAILED
    assert row.reason == "not enough memory, attempt 3 of 3"


def test_object_that_became_unreadable_is_set_aside_and_the_rest_judged_again(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15)
    _select(journal, paths)
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
    _select(journal, write_series(tmp_path / "a"))
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
    _select(journal, write_series(tmp_path / "a"))
    row = _claim(journal)
    clock.pass_s(10)
    before = threading.active_count()
    with Heartbeat(journal, KEY, "w1/1", 0.01):
        limit = time.monotonic() + 10
        while journal.series.get(KEY).token_at == row.token_at and time.monotonic() < limit:
            time.sleep(0.01)
    assert journal.series.get(KEY).token_at == clock()
    assert threading.active_count() == before


# ---- the supervisor's side -----------------------------------------------------------------------


@dataclass
class FakeProcess:
    """A worker process by name only."""

    name: str = "w1"
    token: str = "w1.1.1"  # noqa: S105 - names a claim
    running: bool = True
    ready: bool = True
    starts: int = 1
    killed: list[str] = field(default_factory=list)
    ending: str = "the worker was ended by SIGSEGV"

    def made(self, claim: str | None) -> bool:
        return claim is not None and claim.startswith(f"{self.token}/")

    def poll(self) -> int | None:
        return None if self.running else -11

    def start(self) -> None:
        self.starts += 1
        self.running = True

    def kill(self, why: str) -> None:
        self.killed.append(self.token)
        self.ending = why
        self.running = False


def _workers(
    process: FakeProcess, journal: Journal, clock: Any, log: StringIO | None = None
) -> WorkStep:
    events = EventLog("test", log or StringIO())
    return WorkStep((process,), WorkConfig(time_limit_seconds=100.0), journal, clock, events)  # type: ignore[arg-type]


def test_claim_of_a_crashed_worker_says_how_it_ended(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _claim(journal, "w1.1.1/1")
    log = StringIO()
    assert _workers(FakeProcess(running=False), journal, clock, log).run_once() == 1
    assert journal.series.get(KEY).reason == "the worker was ended by SIGSEGV, attempt 1 of 3"
    (told,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (told["event"], told["worker"], told["exit_code"], told["ends"]) == (
        "WorkerEnded", "w1", -11, 1,
    )  # fmt: skip


def test_worker_that_cannot_be_started_keeps_no_other_from_it(
    journal: Journal, clock: Any, monkeypatch: Any
) -> None:
    first, second = FakeProcess(starts=0, running=False), FakeProcess("w2", starts=0, running=False)

    def no_room() -> None:
        first.starts += 1
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(first, "start", no_room)
    log = StringIO()
    workers = WorkStep((first, second), WorkConfig(), journal, clock, EventLog("t", log))  # type: ignore[arg-type]
    for _ in range(100):
        workers.run_once()
        clock.pass_s(0.1)
    assert second.running
    assert 2 < first.starts < 6
    assert "Resource temporarily unavailable" in log.getvalue()


def test_ordered_stop_hands_the_series_back_as_if_it_had_not_been_begun(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    workers = WorkStep((), WorkConfig(), journal, clock, EventLog("test", StringIO()))
    for number in range(5):
        _claim(journal, f"w1.1.1/{number}")
        workers.stop(1.0)
        row = journal.series.get(KEY)
        assert (row.state, row.attempts) == (SeriesState.SELECTED, 0)
    assert row.reason == "the node was stopped"


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_clock_that_jumps_kills_no_worker_and_spares_none(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, jump_s: float
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _claim(journal, "w1.1.1/1")
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    assert workers.run_once() == 0
    clock.jump_s(jump_s)
    assert workers.run_once() == 0
    for _ in range(10):
        clock.pass_s(9.9)
        journal.series.heartbeat(KEY, "w1.1.1/1")
        assert workers.run_once() == 0
    clock.pass_s(2)
    assert workers.run_once() == 1
    assert "more than 100 s" in journal.series.get(KEY).reason


def test_worker_is_not_silent_while_another_program_holds_the_journal(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _claim(journal, "w1.1.1/1")
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    heartbeat = SeriesTable.heartbeat

    def held_for_20_s(*given: Any) -> bool:
        clock.pass_s(20)
        return heartbeat(*given)

    clock.pass_s(31)
    with monkeypatch.context() as patched:
        patched.setattr(SeriesTable, "heartbeat", held_for_20_s)
        assert workers.run_once() == 0
    clock.pass_s(29)
    assert workers.run_once() == 0
    clock.pass_s(2)
    assert workers.run_once() == 1
    assert process.killed == ["w1.1.1"]


def test_claim_of_a_dead_worker_is_given_back_and_fails_at_the_third_attempt(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    for attempt in (1, 2, 3):
        _claim(journal, f"w9.1.{attempt}/1")
        assert workers.run_once() == 1
    row = journal.series.get(KEY)
    assert row.state is SeriesState.FAILED
    assert row.reason == "the worker ended, attempt 3 of 3"
    assert process.killed == []


def test_claim_of_a_living_worker_is_left_alone(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _claim(journal, "w1.1.1/1")
    assert _workers(FakeProcess(), journal, clock).run_once() == 0


@pytest.mark.parametrize(
    ("seconds", "beats", "reason"),
    [(101.0, True, "more than 100 s"), (31.0, False, "no sign of life for 31 s")],
)
def test_worker_that_takes_too_long_or_is_silent_is_killed(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, seconds: float, beats: bool, reason: str
) -> None:  # fmt: skip
    _select(journal, write_series(tmp_path / "a"))
    _claim(journal, "w1.1.1/1")
    clock.pass_s(seconds)
    if beats:
        journal.series.heartbeat(KEY, "w1.1.1/1")
    process = FakeProcess()
    assert _workers(process, journal, clock).run_once() == 1
    assert process.killed == ["w1.1.1"]
    assert reason in journal.series.get(KEY).reason


def test_worker_that_ends_at_once_is_restarted_ever_more_slowly(
    journal: Journal, clock: Any
) -> None:
    process = FakeProcess(running=False, ready=False)
    workers = _workers(process, journal, clock)
    started = []
    for second in range(16):
        workers.run_once()
        if process.running:
            started.append(second)
            process.running = False
        clock.pass_s(1)
    assert started == [1, 4, 9]


# ---- real processes ------------------------------------------------------------------------------


def _process(tmp_path: Path, log: StringIO | None = None) -> WorkerProcess:
    return WorkerProcess(tmp_path / "config.toml", "w1", EventLog("test", log or StringIO()))


def _until(true: Any, limit_s: float = 10.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.01)


def _runs(monkeypatch: Any, program: str) -> None:
    monkeypatch.setattr(worker_process, "command", lambda *_: [sys.executable, "-S", "-c", program])


def test_worker_that_dies_at_once_disturbs_nobody_who_looks_at_it(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(worker_process, "command", lambda *_: ["sh", "-c", "echo ready; exit 3"])
    process, ends, faults = _process(tmp_path), threading.Event(), []

    def look() -> None:
        while not ends.is_set():
            try:
                process.ready, process.poll(), process.running, process.resident_mb()
            except Exception as error:  # noqa: BLE001 - what is tested
                faults.append(error)

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for thread in watchers:
        thread.start()
    for _ in range(60):
        process.start()
        while process.running:
            time.sleep(0.001)
        process.kill("")
    ends.set()
    for thread in watchers:
        thread.join()
    assert faults == []
    assert process.ending == "the worker ended with exit code 3"


def test_worker_with_too_much_memory_is_ended_with_the_reason(
    tmp_path: Path, monkeypatch: Any
) -> None:
    _runs(
        monkeypatch,
        "import time; held = bytearray(150_000_000); print('ready', flush=True); time.sleep(60)",
    )
    process = _process(tmp_path)
    process.start()
    _until(lambda: process.ready)
    assert 150 < process.resident_mb() < 300
    assert MemoryGuard([process], 400).run_once() == 0
    assert MemoryGuard([process], 100).run_once() == 1
    assert not process.running
    assert process.ending == "more than 100 MB of memory"
    assert process.resident_mb() == 0


def test_what_a_worker_writes_is_our_log(tmp_path: Path, monkeypatch: Any) -> None:
    _runs(
        monkeypatch,
        """
import os, sys
print('{"event": "SeriesEnded", "series": "1.2", "timestamp": "then"}', file=sys.stderr)
print("Corrupt JPEG data " + 1000 * "x", file=sys.stderr, flush=True)
for n in range(500): os.write(2, b"noise\\n")
os.write(2, b"no end of line")
sys.exit(7)
""",
    )
    log = StringIO()
    process = _process(tmp_path, log)
    process.start()
    _until(lambda: not process.running and "noise" in log.getvalue())
    _until(lambda: not [t for t in threading.enumerate() if t.name == "w1 output"])
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (told[0]["event"], told[0]["series"], told[0]["node"]) == ("SeriesEnded", "1.2", "test")
    assert told[1]["event"] == "WorkerSaid"
    assert len(told[1]["text"]) == worker_process.SAID
    assert len(told) == 1 + worker_process.MOST_LINES
    assert process.poll() == 7
    process.kill("")


@pytest.mark.slow
def test_real_worker_gets_ready_stops_on_request_and_ends_with_its_parent(
    tmp_path: Path,
) -> None:
    write = pytest.importorskip("model.bundle.write")
    write.write_coded_bundle(tmp_path / "oracle")
    path = tmp_path / "config.toml"
    path.write_text(f'{CONFIG}\n[model]\nbundle = "{tmp_path / "oracle"}"\n')
    Journal.open(tmp_path / "state" / "journal.sqlite", time.time).close()  # as the service does
    process = WorkerProcess(path, "w1", EventLog("test", StringIO()))

    def wait_ready() -> None:
        limit = time.monotonic() + 120
        while not process.ready and process.running and time.monotonic() < limit:
            time.sleep(0.05)
        assert process.ready, process.poll()

    process.start()
    first = process.token
    wait_ready()
    assert process.stop(30.0)
    assert process.poll() == 0
    process.start()
    assert process.token != first
    wait_ready()
    assert process._life is not None
    child = process._life.child
    assert child.stdin is not None
    child.stdin.close()  # what the end of the parent does
    assert child.wait(30) == 1
    assert not process.owns(f"{process.token}/1")
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)
    process.kill("")
