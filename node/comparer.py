"""Asks a child process with limited memory and time to compare two objects (`node.compare`).

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

from node.compare import OTHER, Comparison

MOST_S: Final = 20.0
"""Time for one comparison, the child's start with its imports included; senders wait half a minute."""


class Comparer:
    """Starts the child at the first question, and again after one that it did not survive."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __call__(self, old: Path, new: Path) -> Comparison:
        """Compare two files of one SOP Instance UID; what cannot be compared is other content."""
        with self._lock:
            try:
                answer = self._ask(old, new)
            except OSError:
                self._kill()
                return OTHER
        return Comparison(**json.loads(answer)) if answer else OTHER

    def _ask(self, old: Path, new: Path) -> str:
        child = self._child = self._child or _start()
        if child.stdin is None or child.stdout is None:
            return ""
        child.stdin.write(f"{json.dumps([str(old.absolute()), str(new.absolute())])}\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], MOST_S)
        answer = child.stdout.readline() if ready else ""
        if not answer:
            self._kill()
        return answer

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
        [sys.executable, "-W", "ignore", "-m", "node.compare"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
