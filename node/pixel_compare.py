"""Whether two files decode to the same pixels, asked of a child process with limited memory and time.

Decoders are the part of a library that hostile bytes reach first: a small compressed frame may declare
gigabytes, and native code may crash. Neither happens in the serving process.

Run as `python -m node.pixel_compare`: reads two paths a line, as a JSON list, and answers true or false.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 2_000_000_000
"""Address space of the child."""
MOST_S: Final = 30.0
"""Time for one comparison, the child's start with its imports included."""


class PixelCompare:
    """Starts the child at the first question, and again after one that it did not survive."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __call__(self, first: Path, second: Path) -> bool:
        """Return whether both decode to equal pixels; False as well when that cannot be known."""
        with self._lock:
            try:
                return self._ask(first, second)
            except OSError:
                self._kill()
                return False

    def _ask(self, first: Path, second: Path) -> bool:
        child = self._child = self._child or _start()
        if child.stdin is None or child.stdout is None:
            raise OSError
        child.stdin.write(json.dumps([str(first.absolute()), str(second.absolute())]) + "\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], MOST_S)
        answer = child.stdout.readline() if ready else ""
        if not answer:
            self._kill()
        return answer == "true\n"

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "node.pixel_compare"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


def same_pixels(first: Path, second: Path) -> bool:
    """Decode two files, one after the other, and compare. Raises whatever a decoder raises."""
    import numpy as np  # noqa: PLC0415 - for the child alone
    from pydicom import dcmread  # noqa: PLC0415

    old, new = (dcmread(path) for path in (first, second))
    if "PixelData" not in old and "PixelData" not in new:
        return True
    return bool(np.array_equal(old.pixel_array, new.pixel_array))


def main() -> None:
    """Answer until the parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    for line in sys.stdin:
        first, second = json.loads(line)
        try:
            answer = same_pixels(Path(first), Path(second))
        except Exception:  # noqa: BLE001 - what cannot be decoded is not the same
            answer = False
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
