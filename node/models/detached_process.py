"""A long child process that outlives a kill of its parent: started, recognised again, and ended.

Alive is who holds the lock file, which the child inherits and never knows of. A process id alone proves
nothing: after a restart, or in another container, the same number is another process.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

NICENESS: Final = 15
OOM_SCORE: Final = 900
"""Of 1000: where memory runs out, the kernel ends a training before the service."""
ENVIRONMENT: Final = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
"""Idle threads sleep, and the log is written as it comes."""
_PROC: Final = Path("/proc")


def held(lock: Path) -> bool:
    """Return whether some process holds the lock file."""
    handle = take(lock)
    if handle is None:
        return True
    os.close(handle)
    return False


def take(lock: Path) -> int | None:
    """Take the lock; the open file that holds it, or None when another process does."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def identity(pid: int) -> str:
    """Return when a process began, as the machine tells it; empty when it has ended, or no `/proc` is there."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    state, ticks = fields[0], fields[19]  # fields 3 and 22 of proc_pid_stat(5)
    return "" if state in {"Z", "X"} else f"{boot}.{ticks}"


def start(arguments: Sequence[str], log: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, at low priority, that holds the lock.

    Its output is added to `log`. Raises `OSError` (no such program, disk full).
    """
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **os.environ},
            start_new_session=True,
            pass_fds=(lock,),
        )
    with suppress(OSError):  # it may have ended already
        os.setpriority(os.PRIO_PGRP, child.pid, NICENESS)
    with suppress(OSError):
        (_PROC / str(child.pid) / "oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    return child


def poll_group(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a child that has ended, None while it runs; what is left of its group is ended.

    The group is killed before the child is waited for: until then its number is not reused.
    """
    if process.returncode is None:
        seen = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return None
        kill_group(process.pid)
    return process.poll()


def end(pid: int, began: str, lock: Path) -> bool:
    """Kill the process group that began then, if it is still that one; whether a signal was sent."""
    return held(lock) and identity(pid) == began and kill_group(pid)


def kill_group(pid: int) -> bool:
    """Kill a process group; whether there was one.

    At once and without asking: what a training writes is intact at any moment.
    """
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
        return True
    return False


def release(lock: int) -> None:
    """Close our hold of a lock; a child that was given it keeps it."""
    os.close(lock)
