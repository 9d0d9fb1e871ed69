"""`Companion`: draws in a process beside the worker, so that drawing takes another core and never costs the result.

The process is started once. It ends with the pipe that the worker holds, so a killed worker leaves none behind. One
that ends while it draws is replaced once; then the drawing is given up, for whatever ended both would end the worker
too. Only where no such process comes up does the worker draw by itself.
"""

from __future__ import annotations

import pickle
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dicomseg.draw.drawing import Drawing, Reading, Scene, draw_pictures, draw_surfaces
from node.errors import DrawingFailed
from node.faults import describe_error, error_trace
from node.work.companion_process import READY
from node.work.drawing import Failed
from node.work.messages import read_message, write_message

COMMAND: Final = (sys.executable, "-m", "node.work.companion_process")
STARTS: Final = 2
"""Processes that may end over one drawing."""
_ENDED: Final = (OSError, EOFError, pickle.UnpicklingError, ValueError)
"""What writing to, or reading from, a process raises that ends meanwhile; ValueError: its pipe was closed here."""


class _NotUp(Exception):
    """The process ended before it could draw anything."""


@dataclass(slots=True, eq=False)
class _Process:
    """One start of the companion."""

    child: subprocess.Popen[bytes]
    is_ready: bool = False

    @classmethod
    def start(cls) -> _Process:
        """Start it; it is ready when it says so. Raises OSError."""
        return cls(subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def send(self, message: Scene | Reading) -> None:
        """Send a message. Raises one of `_ENDED`."""
        if self.child.stdin is None:
            raise AssertionError("started with pipes")
        write_message(self.child.stdin, message)

    def answer(self) -> object:
        """Return the answer to a reading. Raises one of `_ENDED`."""
        if self.child.stdout is None:
            raise AssertionError("started with pipes")
        if not self.is_ready:
            self.is_ready = read_message(self.child.stdout) == READY
        return read_message(self.child.stdout)

    def came_up(self) -> bool:
        """Whether a process that has ended could draw before."""
        if not self.is_ready and self.child.stdout is not None:
            with suppress(*_ENDED):
                self.is_ready = read_message(self.child.stdout) == READY
        return self.is_ready

    def end(self) -> None:
        """End it at once."""
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                with suppress(OSError):  # bytes that were not written yet
                    pipe.close()


@dataclass(slots=True, eq=False)
class _Job:
    """One drawing under way. answer: None where the worker is to draw; both are set before `done`."""

    scene: Scene
    readings: queue.SimpleQueue[Reading | None] = field(default_factory=queue.SimpleQueue)
    reading: Reading | None = None
    answer: object = None
    given_up: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def wait_for_reading(self) -> Reading | None:
        """Return the reading; None when the scene is forgotten."""
        if self.reading is None and not self.given_up:
            self.reading = self.readings.get()
        return self.reading


class Companion:
    """An `Artist` (`node.work.drawing`) whose drawings another process makes. limit_s: longest wait for one."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._process: _Process | None = None
        self._job: _Job | None = None

    def start(self) -> None:
        """Start the process, so that it is ready when the first scene comes."""
        with suppress(OSError):  # the first scene tries again
            self._process = _Process.start()

    def close(self) -> None:
        """End the process."""
        self._forget()
        self._end(self._process)

    def begin(self, scene: Scene) -> None:
        """Hand a scene over and return at once; an earlier one that was not drawn is forgotten."""
        self._forget()
        self._job = _Job(scene)
        threading.Thread(target=self._serve, args=(self._job,), name="drawing", daemon=True).start()

    def finish(self, reading: Reading) -> None:
        """Hand over what was measured of the scene."""
        if self._job is None:
            raise AssertionError("a reading needs a scene")
        self._job.readings.put(reading)

    def drawing(self) -> Drawing:
        """Wait for the drawing.

        Raises:
            DrawingFailed: it raised an error, ended two processes, or took too long.
        """
        job, self._job = self._job, None
        if job is None:
            raise AssertionError("a drawing needs a scene")
        if not job.done.wait(self._limit_s):
            job.given_up = True
            self._end(self._process)
            job.done.wait()
            raise DrawingFailed(f"the page was not drawn within {self._limit_s:g} s")
        if job.answer is None and job.reading is not None:
            return draw_pictures(job.scene, job.reading, draw_surfaces(job.scene))
        if isinstance(job.answer, Failed):
            raise DrawingFailed(job.answer.text, job.answer.trace)
        if isinstance(job.answer, Drawing):
            return job.answer
        raise AssertionError("the companion answers with a drawing, or why there is none")

    def _serve(self, job: _Job) -> None:
        """Have one scene drawn, by a second process if the first one ends."""
        try:
            job.answer = self._answer(job)
        except (_NotUp, OSError):  # also of a machine without room for another process
            job.wait_for_reading()
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read
            job.answer = Failed(describe_error(error), error_trace(error))
        finally:
            job.done.set()

    def _answer(self, job: _Job) -> object:
        for _ in range(STARTS):
            if self._process is None or self._process.child.poll() is not None:
                self._end(self._process)
                self._process = _Process.start()
            process = self._process
            try:
                process.send(job.scene)
                reading = job.wait_for_reading()
                if reading is None:
                    return None
                process.send(reading)
                return process.answer()
            except _ENDED as error:
                came_up = process.came_up()
                self._end(process)
                if job.given_up:
                    break
                if not came_up:
                    raise _NotUp from error
        return Failed("the process that draws ended")

    def _forget(self) -> None:
        """Leave a scene that was never measured; what was sent of it is overtaken by the next one."""
        if self._job is not None:
            self._job.readings.put(None)
            self._job.done.wait()
            self._job = None

    def _end(self, process: _Process | None) -> None:
        if process is not None:
            process.end()
        if self._process is process:
            self._process = None
