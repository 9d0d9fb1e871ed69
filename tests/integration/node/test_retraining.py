"""Retraining jobs in the journal and their runner; a small script replaces `lumbar-train`."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.clock import Clock
from node.config.file import read_config
from node.errors import IllegalTransition
from node.event_log import EventLog
from node.free_ports import free_ports
from node.journal.job_rows import JobPlan, JobRow
from node.journal.jobs import JobTable
from node.journal.journal import Journal
from node.journal.states import JobEvent, JobState
from node.models import detached_process as child
from node.models import retraining as jobs
from node.models.retraining import (
    COMPARING_S,
    TRAIN,
    JobDirectory,
    JobRunner,
    build_arguments,
    cancel,
    explain_failure,
)
from node.service import service as supervise
from tests.support.jobs import PLAN

FAKE = """
import json, os, subprocess, sys, time
from pathlib import Path
what = os.environ["FAKE"]
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "retrain", sys.argv
out = Path(given["--out"]); out.mkdir(exist_ok=True)
print("step 1 of 3, loss 0.5", flush=True)
with (out / "starts").open("a") as f: f.write("x")
def answer(verdict, reasons=()):
    side = lambda n: {"name": "m", "version": n, "digest": n * 64, "scores": [1]}
    (out / "comparison.json").write_text(json.dumps({
        "verdict": verdict, "reasons": list(reasons), "notes": [], "table": [],
        "in_service": side("a"), "candidate": side("b")}))
if what == "propose": answer("proposed")
if what == "reject": answer("rejected", ["ivd: worse"]); sys.exit(3)
if what == "reject much": answer("rejected", ["ivd: worse", "l4: worse", "none better"]); sys.exit(3)
if what == "over": print("time limit reached at step 1 of 3; the same command continues"); sys.exit(3)
if what == "full": sys.exit("lumbar-train: out: no space left on the disk; free some")
if what == "crash": raise ZeroDivisionError("oops")
if what == "liar": answer("proposed"); sys.exit(1)
if what == "pipe": os.mkfifo(out / "comparison.json")
if what == "endless":
    answer("proposed")
    with (out / "comparison.json").open("a") as f: f.write(" " * 5_000_000)
if what == "wait": time.sleep(60)
if what == "wait once" and (out / "starts").read_text() == "x": time.sleep(60)
if what == "wait once": answer("proposed")
if what == "children":
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (out / "other").write_text(str(other.pid))
    time.sleep(60)
if what == "leaves one":
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (out / "other").write_text(str(other.pid))
    answer("proposed")
"""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", time.time)
    yield opened
    opened.close()


class Shop:
    """A runner on the journal; `free` bytes of disk, and a clock that can be ahead."""

    def __init__(self, state: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.journal, self.free = state, journal, 10**9
        self.ahead_s = self.jumped_s = 0.0
        self.events: list[Any] = []
        self._set = lambda what: monkeypatch.setenv("FAKE", what)
        self.fake = state / "fake_train.py"
        self.fake.write_text(FAKE)
        self.runner = self.another()

    def another(self) -> JobRunner:
        """A runner after a restart of the node."""
        return JobRunner(
            self.state, self.journal, None, lambda: self.free, 10**6,
            Clock(lambda: time.time() + self.ahead_s + self.jumped_s, lambda: time.monotonic() + self.ahead_s),
            self.events.append, (sys.executable, str(self.fake)),
        )  # fmt: skip

    def enqueue(self, what: str) -> int:
        self._set(what)
        return self.journal.jobs.enqueue(PLAN, "test").id

    def until(self, true: Callable[[], bool], runner: JobRunner | None = None) -> None:
        ends_at = time.monotonic() + 60
        while not true():
            (runner or self.runner).run_once()
            assert time.monotonic() < ends_at, "it did not happen in time"
            time.sleep(0.01)

    def ended(self, job: int) -> JobRow:
        self.until(lambda: self.journal.jobs.get(job).state not in {"queued", "running"})
        return self.journal.jobs.get(job)

    def started(self, job: int, file: str = "starts") -> JobRow:
        """Wait until the training has got somewhere."""
        self.until((JobDirectory.of(self.state, job).out / file).exists)
        return self.journal.jobs.get(job)

    def over(self) -> None:
        """Wait until the training has ended, without taking note of it."""
        assert self.runner._child is not None
        os.waitid(os.P_PID, self.runner._child.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def shop(tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    made = Shop(tmp_path, journal, monkeypatch)
    yield made
    for row in journal.jobs.in_states(JobState.RUNNING):
        child.end(row.pid or 0, row.started, JobDirectory.of(tmp_path, row.id).lock)
    made.runner._end_child()


def _gone(pid: int) -> None:
    ends_at = time.monotonic() + 60
    while child.identity(pid):
        assert time.monotonic() < ends_at, f"{pid} still runs"
        time.sleep(0.01)


# ---- runs ----------------------------------------------------------------------------------------


def test_arguments_say_what_was_planned() -> None:
    place = JobDirectory(Path("/s/jobs/3"))
    plan = JobPlan("c", "h.json", recipe="r.toml", bundle="b", margin=0.02, max_hours=1.5)
    assert build_arguments(["train"], plan, place) == [
        "train", "retrain", "--cases", "c", "--held-out", "h.json", "--out", "/s/jobs/3/out",
        "--margin", "0.02", "--max-minutes", "90.0", "--bundle", "b", "--recipe", "r.toml",
    ]  # fmt: skip


def test_proposal_is_recorded_with_its_table_and_without_single_scores(shop: Shop) -> None:
    row = shop.ended(shop.enqueue("propose"))
    assert row.state is JobState.PROPOSED
    assert row.outcome["candidate"] == {"name": "m", "version": "b", "digest": "b" * 64}
    assert row.starts == 1
    assert JobDirectory.of(shop.state, row.id).tail() == ["step 1 of 3, loss 0.5"]
    assert [type(e).__name__ for e in shop.events] == ["JobStarted", "JobEnded"]


@pytest.mark.parametrize(
    ("what", "state", "reason"),
    [
        ("reject", "rejected", "ivd: worse"),
        ("reject much", "rejected", "ivd: worse (and 2 more)"),
        ("over", "failed", "time limit reached at step 1 of 3; the same command continues"),
        ("full", "failed", "out: no space left on the disk; free some"),
        ("crash", "failed", "exit code 1: ZeroDivisionError: oops"),
        ("liar", "failed", "exit code 1: step 1 of 3, loss 0.5"),
        ("pipe", "failed", "exit code 0: step 1 of 3, loss 0.5"),
        ("endless", "failed", "exit code 0: step 1 of 3, loss 0.5"),
    ],
)
def test_every_other_end_has_its_state_and_reason(
    shop: Shop, what: str, state: str, reason: str
) -> None:
    row = shop.ended(shop.enqueue(what))
    assert (row.state, row.reason) == (state, reason)


def test_one_runs_at_a_time_in_order(shop: Shop) -> None:
    first, second = shop.enqueue("wait"), shop.enqueue("wait")
    shop.started(first)
    for _ in range(5):
        shop.runner.run_once()
    assert shop.journal.jobs.get(second).state is JobState.QUEUED
    cancel(shop.journal, shop.state, first, "test")
    shop.started(second)
    assert shop.journal.jobs.get(first).state is JobState.CANCELLED


def test_training_has_low_priority_and_a_group_of_its_own(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    assert row.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, row.pid) == 15
    assert os.getpgid(row.pid) == row.pid != os.getpgid(0)
    assert Path(f"/proc/{row.pid}/oom_score_adj").read_text().strip() == "900"


def test_it_starts_from_the_promoted_bundle_and_keeps_that_when_it_goes_on(shop: Shop) -> None:
    shop.runner.configured = Path("/models/configured")
    job = shop.enqueue("over")
    assert shop.ended(job).plan.bundle == "/models/configured"
    shop.runner.configured = Path("/models/other")
    shop.journal.jobs.advance(job, JobEvent.ENQUEUED_AGAIN)
    assert shop.ended(job).plan.bundle == "/models/configured"


# ---- cancelled, killed, too long -----------------------------------------------------------------


def test_cancel_kills_the_whole_group(shop: Shop) -> None:
    row = shop.started(shop.enqueue("children"), "other")
    other = int((JobDirectory.of(shop.state, row.id).out / "other").read_text())
    assert child.identity(other)
    cancel(shop.journal, shop.state, row.id, "E. Miller")
    assert shop.runner.run_once() == 1
    _gone(row.pid or 0)
    _gone(other)
    row = shop.journal.jobs.get(row.id)
    assert (row.state, row.reason) == ("cancelled", "by E. Miller")
    with pytest.raises(IllegalTransition):
        cancel(shop.journal, shop.state, row.id, "E. Miller")


def test_what_a_training_leaves_behind_is_ended_with_it(shop: Shop) -> None:
    row = shop.ended(shop.enqueue("leaves one"))
    assert row.state is JobState.PROPOSED
    _gone(int((JobDirectory.of(shop.state, row.id).out / "other").read_text()))


def test_killed_training_fails_and_goes_on_in_the_same_folder(shop: Shop) -> None:
    job = shop.enqueue("wait once")
    row = shop.started(job)
    os.killpg(row.pid or 0, signal.SIGKILL)
    row = shop.ended(job)
    assert row.state is JobState.FAILED
    assert row.reason == "killed by signal 9; last log line: step 1 of 3, loss 0.5"
    shop.journal.jobs.advance(job, JobEvent.ENQUEUED_AGAIN)
    row = shop.ended(job)
    assert (row.state, row.starts) == ("proposed", 2)
    assert (JobDirectory.of(shop.state, job).out / "starts").read_text() == "xx"


def test_clock_that_jumps_ends_no_training(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    assert shop.runner.run_once() == 0
    for shop.jumped_s in (-86400.0, 86400.0):
        assert shop.runner.run_once() == 0
    assert shop.journal.jobs.get(row.id).state is JobState.RUNNING


def test_training_that_takes_too_long_is_ended(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    shop.ahead_s = 1.5 * 3600 + COMPARING_S - 60
    assert shop.runner.run_once() == 0
    shop.ahead_s += 120
    assert shop.runner.run_once() == 1
    assert shop.journal.jobs.get(row.id).reason == "more than 3.5 hours"
    _gone(row.pid or 0)


# ---- the node stops or dies ----------------------------------------------------------------------


def test_ordered_stop_puts_the_job_back_and_the_next_start_goes_on(shop: Shop) -> None:
    job = shop.enqueue("wait once")
    row = shop.started(job)
    shop.runner.stop()
    _gone(row.pid or 0)
    assert shop.journal.jobs.get(job).state is JobState.QUEUED
    assert shop.journal.jobs.get(job).reason == "the node was stopped"
    shop.runner = shop.another()
    assert shop.ended(job).state is JobState.PROPOSED


def test_stop_without_a_job_and_after_its_end_changes_nothing(shop: Shop) -> None:
    shop.runner.stop()
    job = shop.enqueue("propose")
    shop.started(job)
    assert shop.runner._child is not None
    shop.runner._child.wait(5)
    shop.runner.stop()
    assert shop.journal.jobs.get(job).state is JobState.PROPOSED


def test_training_outlives_a_killed_node_and_its_answer_is_recorded(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    old, shop.runner = shop.runner, shop.another()
    assert shop.runner.run_once() == 0  # it is recognised and left alone
    assert shop.journal.jobs.get(row.id).state is JobState.RUNNING
    answer = {"verdict": "rejected", "reasons": ["l4: worse"]} | {
        side: {"name": "m", "version": "1", "digest": "d"} for side in ("in_service", "candidate")
    }
    (JobDirectory.of(shop.state, row.id).out / "comparison.json").write_text(json.dumps(answer))
    old._end_child()
    assert shop.runner.run_once() == 1
    row = shop.journal.jobs.get(row.id)
    assert (row.state, row.reason) == ("rejected", "l4: worse")


def test_training_that_died_with_the_node_fails_as_killed(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    shop.runner._end_child()  # the machine went down: nothing was recorded
    shop.runner = shop.another()
    assert shop.runner.run_once() == 1
    row = shop.journal.jobs.get(row.id)
    assert row.state is JobState.FAILED
    assert row.reason.startswith("terminated while the node was down; last log line: step 1 of 3")


def test_training_of_a_killed_node_can_be_cancelled(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    orphan, shop.runner._child = shop.runner._child, None
    assert orphan is not None
    cancel(shop.journal, shop.state, row.id, "test")
    assert orphan.wait(5) == -signal.SIGKILL


def test_process_id_that_came_again_is_not_killed(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    lock = JobDirectory.of(shop.state, row.id).lock
    assert not child.end(row.pid or 0, "another boot.123", lock)
    assert child.identity(row.pid or 0) == row.started
    assert child.end(row.pid or 0, row.started, lock)


def test_job_waits_while_a_training_of_an_earlier_life_holds_its_folder(shop: Shop) -> None:
    job = shop.enqueue("propose")
    place = JobDirectory.of(shop.state, job)
    place.folder.mkdir(parents=True)
    lock = child.take(place.lock)  # its start was not recorded before the node died
    assert lock is not None
    assert shop.runner.run_once() == 0
    assert shop.journal.jobs.get(job).state is JobState.QUEUED
    child.release(lock)
    assert shop.ended(job).state is JobState.PROPOSED


# ---- in the service ------------------------------------------------------------------------------

CONFIG = """
[node]
ae_title = "N"
port = {port}
state = "."
[receive]
disk_low_mb = 0
disk_high_mb = 0
"""


class _Workers:
    processes, ready = (), True

    def run_once(self) -> int:
        return 0

    def stop(self, _: float) -> None:
        pass


def test_service_runs_the_queue_and_its_stop_puts_the_job_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports()
    path = shop.state / "config.toml"
    path.write_text(CONFIG.format(port=port))
    monkeypatch.setattr(supervise.WorkStep, "of", lambda *_: _Workers())
    real = jobs.build_arguments
    command = (sys.executable, str(shop.fake))
    monkeypatch.setattr(jobs, "build_arguments", lambda _, *rest: real(command, *rest))
    first = shop.enqueue("wait once")
    stopping, log = threading.Event(), StringIO()
    node = supervise.Node(read_config(path), path, EventLog("t", log))
    thread = threading.Thread(target=node.serve, args=(stopping,))
    thread.start()
    ends_at = time.monotonic() + 60
    while not (JobDirectory.of(shop.state, first).out / "starts").exists():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    row = shop.journal.jobs.get(first)
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()
    _gone(row.pid or 0)
    assert shop.journal.jobs.get(first).state is JobState.QUEUED
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert [e for e in events if e.startswith("Job")] == ["JobStarted", "JobEnded"]
    assert events[-1] == "NodeStopped"


def test_the_real_program_takes_these_arguments(shop: Shop) -> None:
    shop.runner.command = TRAIN
    shop.runner.configured = Path("/nowhere")
    row = shop.enqueue("")
    deadline = time.monotonic() + 60
    while shop.journal.jobs.get(row).state in {"queued", "running"}:
        shop.runner.run_once()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = shop.journal.jobs.get(row)
    assert found.reason.startswith("/nowhere/card.json"), found.reason
    assert shop.journal.jobs.events(row)[-1].detail["exit_code"] == 6


# ---- a full disk ---------------------------------------------------------------------------------


def test_nothing_is_started_on_a_full_disk(shop: Shop) -> None:
    shop.free = 900_000
    row = shop.ended(shop.enqueue("propose"))
    assert (row.state, row.reason) == (
        "failed",
        "disk: 0 MB free, [receive] disk_low_mb is 1",
    )
    shop.free = 10**9
    shop.journal.jobs.advance(row.id, JobEvent.ENQUEUED_AGAIN)
    assert shop.ended(row.id).state is JobState.PROPOSED


def test_training_is_ended_before_it_takes_the_receptions_room(shop: Shop) -> None:
    row = shop.started(shop.enqueue("wait"))
    shop.free = 0
    assert shop.runner.run_once() == 1
    assert shop.journal.jobs.get(row.id).reason.startswith("disk: 0 MB free")
    _gone(row.pid or 0)


def test_log_that_cannot_be_written_fails_the_job_with_the_reason(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/s/jobs/1/log")

    monkeypatch.setattr(child, "start", full)
    row = shop.ended(shop.enqueue("propose"))
    assert (row.state, row.reason) == ("failed", "/s/jobs/1/log: No space left on device")
    assert not child.held(JobDirectory.of(shop.state, row.id).lock)


def test_journal_on_a_full_disk_is_tried_again_and_the_answer_is_not_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.enqueue("propose")
    shop.started(job)
    assert shop.runner._child is not None
    shop.runner._child.wait(5)
    with monkeypatch.context() as patch:
        patch.setattr(JobTable, "advance", lambda *_, **__: (_ for _ in ()).throw(OSError(28)))
        with pytest.raises(OSError, match="28"):
            shop.runner.run_once()
    assert shop.journal.jobs.get(job).state is JobState.RUNNING
    assert shop.ended(job).state is JobState.PROPOSED


@pytest.mark.parametrize(
    ("code", "lines", "message"),
    [
        (2, ["a", "lumbar-train: bad recipe", "b"], "bad recipe"),
        (1, ["a", "b"], "exit code 1: b"),
        (-15, [], "killed by signal 15; last log line: nothing in its log"),
        (None, ["x"], "terminated while the node was down; last log line: x"),
    ],
)
def test_fault_is_the_programs_own_line_where_it_has_one(
    code: int | None, lines: list[str], message: str
) -> None:
    assert explain_failure(code, lines) == message


# ---- commands ------------------------------------------------------------------------------------


@pytest.fixture
def said(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Any]:
    monkeypatch.chdir(shop.state)
    (shop.state / "config.toml").write_text('[node]\nae_title = "N"\nstate = "."\n')

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["jobs", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_commands_tell_one_story(shop: Shop, said: Any, tmp_path: Path) -> None:
    assert said("list") == (0, "no jobs\n", "")
    (tmp_path / "cases").mkdir()
    (tmp_path / "held.json").write_text('{"schema": 1, "cases": {"a": "b"}}')
    options = ["--cases", "cases", "--held-out", "held.json", "--by", "E. Miller"]
    assert said("enqueue", *options) == (0, "job 1: queued\n", "")
    assert (
        said("log", "1")[2] == "lumbar-node: job 1 has no log: it is queued and was never started\n"
    )
    assert said("cancel", "1") == (0, "job 1: cancelled\n", "")
    assert said("cancel", "1")[::2] == (
        3,
        "lumbar-node: job 1 is cancelled; it cannot be cancelled\n",
    )
    shop._set("reject")
    assert said("enqueue", "1")[1] == "job 1: queued\n"
    shop.ended(1)
    code, out, _ = said("show", "1")
    assert code == 0
    assert "job 1: rejected (ivd: worse)" in out
    assert "candidate: m b bbbbbbbbbbbb" in out
    shown = json.loads(said("show", "1", "--json")[1])
    assert shown["plan"]["data"] == str(tmp_path / "cases")
    assert [e["event"] for e in shown["events"]] == [
        "enqueued", "cancel_requested", "enqueued_again", "started", "comparison_failed",
    ]  # fmt: skip
    assert said("log", "1", "--lines", "1")[1] == "step 1 of 3, loss 0.5\n"
    (listed,) = json.loads(said("list", "--json")[1])["jobs"]
    assert (listed["state"], listed["asked_by"]) == ("rejected", "E. Miller")
    assert said("enqueue", "1")[0] == 3


def test_wrong_asks_are_one_line_with_their_code(said: Any) -> None:
    for words, code, message in (
        (["show", "7"], 3, "no job 7"),
        (["list", "--state", "propose"], 2, 'did you mean "proposed"?'),
        (["enqueue"], 3, "[training.schedule] data '' is no folder of prepared cases"),
        (["enqueue", "7"], 3, "no job 7"),
    ):
        found = said(*words)
        assert found[0] == code, found
        assert message in found[2]
        assert found[2].count("\n") == 1
