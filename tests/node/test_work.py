from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg import headers
from dicomseg.errors import SeriesRefused
from dicomseg.segmentation import EngineInfo, NotInView
from node import config as configuration
from node import worker
from node.config import WorkConfig
from node.events import EventLog
from node.journal import Journal
from node.records import InstanceFacts, SeriesKey, SeriesRow
from node.states import SeriesEvent, SeriesState
from node.work import Heartbeat, WorkerProcess, Workers
from node.worker import Worker

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
        configuration.load(path),
        journal,
        SimpleNamespace(info=INFO),  # type: ignore[arg-type]
        "w1",
        EventLog("test", made.log),
    )
    return made


def _select(journal: Journal, paths: list[Path]) -> None:
    for path in paths:
        one = headers.read(path)
        journal.add_instance(
            InstanceFacts(
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
    journal.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)


def _claim(journal: Journal, name: str = "w1/1") -> SeriesRow:
    row = journal.claim(name)
    assert row is not None
    return row


def _work(made: SimpleNamespace, journal: Journal, name: str = "w1/1") -> SeriesRow:
    made.worker.work_on(_claim(journal, name), threading.Event())
    return journal.series(KEY)


def test_result_is_published_with_a_delivery_per_destination(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    assert _work(made, journal).state is SeriesState.ENCODED
    (result,) = journal.results_of(KEY)
    assert (result.folder / "seg.dcm").read_bytes() == b"x"
    assert result.folder.parent == tmp_path / "state" / "results"
    assert [d.destination for d in journal.deliveries_of(KEY)] == ["out"]


def test_same_input_finds_its_folder_and_is_not_computed_twice(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    journal.request_retry(KEY.series)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
    assert _work(made, journal, "w1/2").state is SeriesState.ENCODED
    assert made.runs == 1
    assert len(journal.results_of(KEY)) == len(journal.deliveries_of(KEY)) == 1


def test_forced_retry_makes_another_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    journal.request_retry(KEY.series, force=True)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
    _work(made, journal, "w1/2")
    first, second = journal.results_of(KEY)
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
    first, second = journal.results_of(KEY)
    assert [p and p.result_id for p in made.predecessors] == [None, first.result_id]
    journal.request_retry(KEY.series)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
    _work(made, journal, "w1/3")
    assert [r.result_id for r in journal.results_of(KEY)] == [first.result_id, second.result_id]


def test_forced_retry_that_was_answered_is_not_answered_again(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    _work(made, journal)
    for token, force in (("w1/2", True), ("w1/3", False)):
        journal.request_retry(KEY.series, force=force)
        journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
        _work(made, journal, token)
    first, second = journal.results_of(KEY)
    assert made.runs == 2
    assert [p and p.result_id for p in made.predecessors] == [None, first.result_id]
    assert second.attempt == 1


def test_killed_after_the_folder_and_before_the_journal_ends_in_the_same_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    monkeypatch.setattr(Journal, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _work(made, journal)
    monkeypatch.undo()
    (folder,) = (tmp_path / "state" / "results").iterdir()
    journal.advance(KEY, SeriesEvent.CLAIM_LOST)
    assert _work(made, journal, "w2/1").state is SeriesState.ENCODED
    assert [r.folder for r in journal.results_of(KEY)] == [folder]


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
    assert "1 slice is missing of 20" in row.reason
    assert made.runs == 0


def test_late_slice_wins_over_the_result(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15)
    _select(journal, paths[:14])

    def late() -> None:
        one = headers.read(paths[14])
        journal.add_instance(
            InstanceFacts(one.sop_instance_uid, "", *KEY, one.digest, "", paths[14], 1)
        )

    made.before = late
    assert _work(made, journal).state is SeriesState.RECEIVING
    assert journal.results_of(KEY) == []


def test_full_disk_gives_the_series_back_until_the_attempts_are_used(
    made: Any, journal: Journal, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(worker, "FAULT_WAIT_S", 0.0)
    _select(journal, write_series(tmp_path / "a"))
    made.answer = OSError(28, "No space left on device")
    for attempt in (1, 2):
        assert _work(made, journal, f"w1/{attempt}").state is SeriesState.SELECTED
    row = _work(made, journal, "w1/3")
    assert row.state is SeriesState.FAILED
    assert "No space left on device, attempt 3 of 3" in row.reason


def test_heartbeat_keeps_a_claim_alive_and_ends_with_the_block(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    row = _claim(journal)
    clock.pass_s(10)
    before = threading.active_count()
    with Heartbeat(journal, KEY, "w1/1", 0.01):
        limit = time.monotonic() + 10
        while journal.series(KEY).token_at == row.token_at and time.monotonic() < limit:
            time.sleep(0.01)
    assert journal.series(KEY).token_at == clock()
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

    def owns(self, claim: str | None) -> bool:
        return self.running and claim is not None and claim.startswith(f"{self.token}/")

    def start(self) -> None:
        self.starts += 1
        self.running = True

    def kill(self) -> None:
        self.killed.append(self.token)
        self.running = False


def _workers(process: FakeProcess, journal: Journal, clock: Any) -> Workers:
    return Workers((process,), WorkConfig(time_limit_seconds=100.0), journal, clock)  # type: ignore[arg-type]


def test_claim_of_a_dead_worker_is_given_back_and_fails_at_the_third_attempt(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    _select(journal, write_series(tmp_path / "a"))
    process = FakeProcess()
    workers = _workers(process, journal, clock)
    for attempt in (1, 2, 3):
        _claim(journal, f"w9.1.{attempt}/1")
        assert workers.run_once() == 1
    row = journal.series(KEY)
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
        journal.heartbeat(KEY, "w1.1.1/1")
    process = FakeProcess()
    assert _workers(process, journal, clock).run_once() == 1
    assert process.killed == ["w1.1.1"]
    assert reason in journal.series(KEY).reason


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


@pytest.mark.slow
def test_real_worker_gets_ready_stops_on_request_and_ends_with_its_parent(
    tmp_path: Path,
) -> None:
    oracle = pytest.importorskip("model.oracle")
    oracle.write_bundle(tmp_path / "oracle")
    path = tmp_path / "config.toml"
    path.write_text(f'{CONFIG}\n[model]\nbundle = "{tmp_path / "oracle"}"\n')
    Journal.open(tmp_path / "state" / "journal.sqlite", time.time).close()  # as the service does
    process = WorkerProcess(path, "w1")

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
    child = process._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()  # what the end of the parent does
    assert child.wait(30) == 1
    assert not process.owns(f"{process.token}/1")
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)
    process.kill()
