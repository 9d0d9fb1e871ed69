"""The state folder belongs to one running node: its lock, what holds it, and its private mode."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from node.durable import hand_over
from node.errors import AlreadyRunning, StateRefused
from node.store.layout import StateDirectory

PRIVATE: Final = 0o077
"""What others may not: images and results are of patients. A folder that is there keeps what its owner
allowed to a group."""


ATTEMPTS: Final = 4
"""Times that the lock is tried: a query that looks whether it is taken holds it for microseconds."""
PAUSE_S: Final = 0.05
_REREAD_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock, for `status`; times in seconds since 1970.

    port: on which it listens, None before. ready_at: when every worker had its model, None before.
    health: its last report of itself (`node.observe.health.report`), None before the first.
    """

    pid: int
    started_at: float
    version: str
    port: int | None = None
    ready_at: float | None = None
    health: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StateLock:
    """The lock while it is held."""

    handle: int

    def describe(self, holder: Holder) -> None:
        """Write who holds the lock into its file; a full disk prevents nothing else."""
        content = json.dumps(asdict(holder)).encode()
        with suppress(OSError):
            os.pwrite(self.handle, content, 0)
            os.ftruncate(self.handle, len(content))


def read_holder(state: Path) -> Holder | None:
    """Return the last process that described itself, running or not; None if there is none."""
    for _ in range(ATTEMPTS):  # it may be written at this moment
        try:
            return Holder(**json.loads(StateDirectory(state).lock.read_text(encoding="utf-8")))
        except ValueError:
            time.sleep(_REREAD_S)
        except (OSError, TypeError):
            break
    return None


def is_running(state: Path) -> bool:
    """Return whether a process holds the lock of a state folder."""
    try:
        handle = os.open(StateDirectory(state).lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def locked(state: Path) -> Iterator[StateLock]:
    """Hold the state folder for this process.

    Raises:
        AlreadyRunning: another process holds it.
        StateRefused: the folder cannot be made or written.
    """
    try:
        _private(state)
        handle = os.open(StateDirectory(state).lock, os.O_RDWR | os.O_CREAT, 0o600)
        hand_over(StateDirectory(state).lock)
    except OSError as error:
        raise StateRefused(
            f"[node] state {state}: {error.strerror}; make it writable or configure another folder"
        ) from error
    try:
        _take(handle)
    except OSError as error:
        os.close(handle)
        raise AlreadyRunning(
            f"another node runs on {state}; stop it or configure another [node] state"
        ) from error
    with suppress(OSError):
        os.ftruncate(handle, 0)  # what an earlier holder wrote
        # As private as its folder: a group that may look into that may ask how the node is.
        os.fchmod(handle, 0o600 | (stat.S_IMODE(state.stat().st_mode) & stat.S_IRGRP))
    try:
        yield StateLock(handle)
    finally:
        os.close(handle)


def _take(handle: int) -> None:
    """Take the lock; `is_running` of a query may hold it for a moment. Raises `OSError` if it stays taken."""
    for _ in range(ATTEMPTS - 1):
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE_S)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _private(state: Path) -> None:
    """Make the state folder for its owner alone; of an existing one, remove the rights of others."""
    if not state.is_dir():
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700)
        return
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & stat.S_IRWXO:
        with suppress(PermissionError):  # another one's folder that we may use
            state.chmod(mode & ~stat.S_IRWXO)
