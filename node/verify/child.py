"""Run one program on an untrusted file: bounded time, memory and output, a folder of its own, no shell."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_S: Final = 300.0
"""Time for one program; `dciodvfy` takes 8 s for 641 frames on an idle core."""
MEMORY_LIMIT: Final = 6 << 30
"""Address space of one program; highdicom reads a segmentation of 128 × 320 × 320 voxels within 2 GiB."""
FILE_LIMIT: Final = 2 << 30
"""Longest file that a program may write, its output included."""
OUTPUT_LIMIT: Final = 4 << 20
"""Bytes read of an output; a program that says more is cut off."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: exit status (negative: killed by that signal), or late; and its output."""

    status: int
    output: str
    errors: str
    late: bool = False

    @property
    def failure(self) -> str:
        """Why it did not end by itself, "" where it did."""
        if self.late:
            return f"no answer within {MOST_S:.0f} s"
        if self.status < 0:
            return f"ended by {_signal_name(-self.status)}"
        return ""

    @property
    def lines(self) -> list[str]:
        """Non-empty lines of both outputs."""
        both = (*self.output.splitlines(), *self.errors.splitlines())
        return [line.strip() for line in both if line.strip()]


def run_child(arguments: Sequence[str | Path], scratch: Path) -> Ended:
    """Run a program in `scratch`, a private folder that also takes its output."""
    out, err = scratch / "stdout.txt", scratch / "stderr.txt"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        child = subprocess.Popen(
            [str(a) for a in arguments],
            cwd=scratch,
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
            start_new_session=True,
        )
        _limit(child.pid)
        try:
            status, late = child.wait(MOST_S), False
        except subprocess.TimeoutExpired:
            late = True
            status = -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it started ends with it
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Ended(status, _text(out), _text(err), late)


def own_module(name: str, *arguments: str | Path) -> list[str | Path]:
    """Return the command that runs a module of this room as a program."""
    return [sys.executable, "-P", "-W", "ignore", "-m", f"node.verify.{name}", *arguments]


def _environment(scratch: Path) -> dict[str, str]:
    """What a program may know: where programs are, where it may write, and that it finds no network."""
    home = Path(__file__).resolve().parents[2]
    kept = {
        k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH"}
    }
    closed = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    return {
        **kept, **closed, "HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": str(home),
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip


def _limit(pid: int) -> None:
    """Bound memory and files of a program that has just started; it may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(OUTPUT_LIMIT).decode("utf-8", "replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
