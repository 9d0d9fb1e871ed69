"""Asks a child process with limited memory and time to compare two objects (`node.receive.compare`).

A small compressed frame may declare gigabytes, a header may hold a million elements, and native decoders
may crash: none of it happens in the serving process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from node.receive.compare import OTHER, Comparison

MOST_S: Final = 20.0
"""Time for one comparison, the child's start with its imports included; senders wait half a minute."""


_LATE: Final = "late"


class Comparer:
    """Starts the child at the first question, and again after one that it did not survive."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __call__(self, old: Path, new: Path) -> Comparison:
        """Compare two files of one SOP Instance UID; what cannot be compared is other content.

        Raises `OSError` where the machine has no room for the child: then nothing is known of the objects.
        """
        with self._lock:
            # A child that dies once may have died of something else than these two objects: a service
            # that is stopped has a signal sent to all of its processes, and continues to receive for a while.
            answer = self._ask(old, new) or self._ask(old, new)
        return Comparison(**json.loads(answer)) if answer and answer != _LATE else OTHER

    def _ask(self, old: Path, new: Path) -> str:
        """Return what the child says, `_LATE` after the time limit, "" when it died before."""
        child = self._child = self._child or _start()
        if child.stdin is None or child.stdout is None:
            return ""
        answer = _LATE
        try:
            child.stdin.write(f"{json.dumps([str(old.absolute()), str(new.absolute())])}\n")
            child.stdin.flush()
            if select.select([child.stdout], [], [], MOST_S)[0]:
                answer = child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer.endswith("\n"):
            self._kill()
        return answer if answer == _LATE or answer.endswith("\n") else ""

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it did not read is lost with it
                    stream.close()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "node.receive.compare"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl+C is for the service, which still receives for a while
    )  # fmt: skip
