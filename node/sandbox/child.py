"""A process that answers questions, one JSON line each; a question that ends it, or takes too long, costs no other.

It runs `python -m MODULE`, which limits its own memory. Nothing of its answers is executed here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

LONGEST_ANSWER: Final = 1 << 27
"""Bytes of one answer; the header of an object with 200,000 frames has half of it."""
_PIECE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Silence:
    """Why there is no answer: the child took too long, or ended twice at this question."""

    cause: Literal["late", "ended"]


class Child:
    """Starts the process at the first question, or by `start`, and again after one that it did not survive.

    most_s: time for one answer, in seconds, the start of the process with its imports included.
    """

    def __init__(self, module: str, most_s: float) -> None:
        self._module, self._most_s = module, most_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process now, so that the first question need not wait for its imports."""
        with self._lock, contextlib.suppress(OSError):
            self._process = self._process or _start(self._module)

    def ask(self, question: object) -> Any:
        """Return the answer, or a `Silence`.

        Raises `OSError` where the machine has no room for the process: then nothing is known of the question.
        """
        with self._lock:
            # A child that ends once may have ended for something else: a service that is stopped has a signal
            # sent to all of its processes, and continues to work for a while.
            answer = self._ask(question)
            return self._ask(question) if answer == Silence("ended") else answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    def _ask(self, question: object) -> Any:
        process = self._process = self._process or _start(self._module)
        line: bytes | Silence = Silence("ended")
        with contextlib.suppress(BrokenPipeError):
            _write(process, f"{json.dumps(question)}\n".encode())
            line = _read_line(process, time.monotonic() + self._most_s)
        if isinstance(line, Silence):
            self._kill()
            return line
        return json.loads(line)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it did not read is lost with it
                    stream.close()


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
        process.stdin.flush()


def _read_line(process: subprocess.Popen[bytes], ends_at: float) -> bytes | Silence:
    """Return one complete line, however slowly it comes, until the deadline."""
    if process.stdout is None:
        return Silence("ended")
    handle, line = process.stdout.fileno(), bytearray()
    while not line.endswith(b"\n"):
        left_s = ends_at - time.monotonic()
        if left_s <= 0 or not select.select([handle], [], [], left_s)[0]:
            return Silence("late")
        piece = os.read(handle, _PIECE)
        line += piece
        if not piece or len(line) > LONGEST_ANSWER:
            return Silence("ended")
    return bytes(line)


def _start(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl+C is for the service, which still receives for a while
    )  # fmt: skip
