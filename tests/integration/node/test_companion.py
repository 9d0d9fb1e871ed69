"""The process that draws beside the worker: same bytes, and no fault of it costs more than the drawing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg.draw.drawing import Drawing, Reading, Scene
from node.errors import DrawingFailed
from node.work import companion as module
from node.work.companion import Companion
from node.work.drawing import OwnHand
from tests.support.pages import page_input

LIMIT_S = 120.0


@cache
def scene_and_reading() -> tuple[Scene, Reading]:
    page = page_input()
    return (
        Scene(page.volume, page.segmentation),
        Reading(page.result, page.shown, page.heading, "en"),
    )


@cache
def expected() -> Drawing:
    hand, (scene, reading) = OwnHand(), scene_and_reading()
    hand.begin(scene)
    hand.finish(reading)
    return hand.drawing()


@pytest.fixture
def companion() -> Iterator[Companion]:
    made = Companion(LIMIT_S)
    made.start()
    yield made
    made.close()


def _draw(companion: Companion, reading: Reading | None = None) -> Drawing:
    scene, usual = scene_and_reading()
    companion.begin(scene)
    companion.finish(reading or usual)
    return companion.drawing()


def _same(drawn: Drawing, other: Drawing) -> bool:
    parts = ((d.rgb.tobytes(), d.pdf, d.title, d.stl, d.surfaces) for d in (drawn, other))
    return next(parts) == next(parts)


def _pid(companion: Companion) -> int:
    assert companion._process is not None
    return companion._process.child.pid


def _is_there(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def _gone(pid: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while _is_there(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not _is_there(pid)


@pytest.mark.slow
def test_it_draws_the_same_bytes_as_the_worker_would(companion: Companion) -> None:
    assert _same(_draw(companion), expected())
    pid = _pid(companion)
    companion.begin(scene_and_reading()[0])  # of a series that could not be measured
    assert _same(_draw(companion), expected())
    assert _pid(companion) == pid


@pytest.mark.slow
def test_a_fault_is_the_drawings_alone_and_says_where(companion: Companion) -> None:
    reading = replace(scene_and_reading()[1], language="a name of a patient")
    with pytest.raises(DrawingFailed, match=r"^KeyError in drawing\.py") as caught:
        _draw(companion, reading)
    assert "patient" not in str(caught.value)
    assert any("draw_pictures" in line for line in caught.value.trace)
    assert _same(_draw(companion), expected())


@pytest.mark.slow
def test_one_that_ends_is_replaced(companion: Companion) -> None:
    assert _same(_draw(companion), expected())
    first = _pid(companion)
    os.kill(first, signal.SIGKILL)
    assert _same(_draw(companion), expected())
    companion.begin(scene_and_reading()[0])
    os.kill(_pid(companion), signal.SIGKILL)
    companion.finish(scene_and_reading()[1])
    assert _same(companion.drawing(), expected())
    assert _gone(first)


@pytest.mark.slow
def test_what_ends_two_of_them_is_not_drawn_by_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, sys; from node.work.messages import *; write_message(sys.stdout.buffer, 'ready');"
        "read_message(sys.stdin.buffer); os.abort()"
    )
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", program))
    monkeypatch.setattr(module, "draw_pictures", lambda *_: pytest.fail("drawn by the worker"))
    companion = Companion(LIMIT_S)
    with pytest.raises(DrawingFailed, match="the process that draws ended"):
        _draw(companion)
    companion.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("/nowhere/at/all",), (sys.executable, "-c", "raise SystemExit(1)")]
)
def test_where_no_process_comes_up_the_worker_draws(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(module, "COMMAND", command)
    companion = Companion(LIMIT_S)
    companion.start()
    assert _same(_draw(companion), expected())
    companion.close()


def test_one_that_hangs_is_ended_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    companion = Companion(0.5)
    companion.start()
    pid = _pid(companion)
    with pytest.raises(DrawingFailed, match=r"not drawn within 0\.5 s"):
        _draw(companion)
    assert _gone(pid)
    companion.close()


WORKER = """
import sys, time
from node.work.companion import Companion
from tests.integration.node.test_companion import scene_and_reading
companion = Companion(600)
companion.start()
companion.begin(scene_and_reading()[0])
companion.finish(scene_and_reading()[1])
print(companion._process.child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_worker_leaves_none_behind() -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    assert _is_there(pid)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert _gone(pid)


def test_the_worker_holds_its_memory_against_the_limit() -> None:
    from node.work.worker_process import WorkerProcess

    inner = "b = bytearray(1) * 200_000_000; b[::4096] = b[::4096]; print(1, flush=True); open(0).read()"
    program = (
        "import subprocess, sys; command = [sys.executable, '-c', sys.argv[1]];"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE);"
        "sys.stdin.read(); child.stdin.close(); child.wait()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    process: Any = WorkerProcess(Path("unused"), "w1", None)  # type: ignore[arg-type]
    process._life = SimpleNamespace(child=child)
    assert process.resident_mb() > 150
    child.stdin.close()
    child.wait()
    child.stdout.close()
