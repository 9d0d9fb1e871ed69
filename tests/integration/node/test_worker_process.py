"""Worker processes as they are: their end, their memory, their output."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from node.event_log import EventLog
from node.journal.journal import Journal
from node.work import worker_process
from node.work.memory_guard import MemoryGuard
from node.work.worker_process import WorkerProcess
from tests.support.workers import CONFIG

# ---- real processes ------------------------------------------------------------------------------


def _process(tmp_path: Path, log: StringIO | None = None) -> WorkerProcess:
    return WorkerProcess(tmp_path / "config.toml", "w1", EventLog("test", log or StringIO()))


def _until(true: Any, limit_s: float = 60.0) -> None:
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
    events = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (events[0]["event"], events[0]["series"], events[0]["node"]) == (
        "SeriesEnded",
        "1.2",
        "test",
    )
    assert events[1]["event"] == "WorkerSaid"
    assert len(events[1]["text"]) == worker_process.SAID
    assert len(events) == 1 + worker_process.MOST_LINES
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
