"""A process that answers questions, one JSON line each; a question that ends it, or takes too long, costs no other.

It runs `python -m MODULE`, which limits its own memory. Nothing of its answers is executed here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

LONGEST_ANSWER: Final = 1 << 27
"""Bytes of one answer; the header of an object with 200,000 frames has half of it."""
_PIECE: Final = 1 << 16
_OUTSIDE: Final = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit codes that a question does not cause: the kernel wants memory, or all processes are stopped."""
_TIMES_LONGER: Final = 5
"""How many times its own time a process may take while others hold the processor or the disk."""
_LOOK_S: Final = 0.1
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAUSES_S: Final = (0.0, 0.2, 1.0, 3.0)
"""Before a question is asked again whose process was killed from outside; what kills two may kill three."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Why there is no answer: the child took too long, or ended twice at this question by itself."""

    cause: Literal["late", "ended"]


class _Killed(OSError):
    """The child was killed from outside: nothing is known of the question."""

    def __init__(self, module: str) -> None:
        super().__init__(
            errno.ENOMEM, f"{module} was killed again and again; see the kernel's log for memory"
        )


class Child:
    """Starts the process at the first question, or by `start`, and again after one that it did not survive.

    most_s: time for one answer, in seconds, the start of the process with its imports included. A process that wants
    to work and is not let is waited for five times as long: a busy machine makes no object unreadable.
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

        Raises `OSError` where the machine has no room for the process, or something outside kills every one:
        then nothing is known of the question.
        """
        with self._lock:
            for pause_s in _PAUSES_S:
                with contextlib.suppress(_Killed):
                    return self._ask_twice(question)
                time.sleep(pause_s)
            return self._ask_twice(question)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    def _ask_twice(self, question: object) -> Any:
        answer = self._ask(
            question
        )  # the end of one process may have been the last question's fault
        return self._ask(question) if answer == Silence("ended") else answer

    def _ask(self, question: object) -> Any:
        process = self._process = self._process or _start(self._module)
        line: bytes | Silence = Silence("ended")
        with contextlib.suppress(BrokenPipeError):
            _write(process, f"{json.dumps(question)}\n".encode())
            line = _read_line(process, self._most_s)
        if isinstance(line, bytes):
            return json.loads(line)
        if line.cause == "ended" and _exit_code(process) in _OUTSIDE:
            self._kill()
            raise _Killed(self._module)
        self._kill()
        return line

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


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a process whose pipes are closed; None where it lives on without them."""
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
        process.stdin.flush()


def _read_line(process: subprocess.Popen[bytes], most_s: float) -> bytes | Silence:
    """Return one complete line, however slowly it comes, as long as the process has time."""
    if process.stdout is None:
        return Silence("ended")
    began, worked_s = time.monotonic(), _look(process.pid)[1]
    handle, line = process.stdout.fileno(), bytearray()
    while not line.endswith(b"\n"):
        waited_s = time.monotonic() - began
        if waited_s >= most_s and not _is_held_up(process.pid, worked_s, most_s, waited_s):
            return Silence("late")
        left_s = max(most_s - waited_s, _LOOK_S)
        if not select.select([handle], [], [], left_s)[0]:
            continue
        piece = os.read(handle, _PIECE)
        line += piece
        if not piece or len(line) > LONGEST_ANSWER:
            return Silence("ended")
    return bytes(line)


def _is_held_up(pid: int, worked_s: float, most_s: float, waited_s: float) -> bool:
    """Whether a process would work, and has had less than its time. worked_s: processor seconds before the question."""
    state, now_s = _look(pid)
    return state in "RD" and now_s - worked_s < most_s and waited_s < _TIMES_LONGER * most_s


def _look(pid: int) -> tuple[str, float]:
    """Return the state of a process (proc(5)) and its processor seconds; "-" where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return "-", 0.0


def _start(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl+C is for the service, which still receives for a while
    )  # fmt: skip
