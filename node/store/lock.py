"""The state folder belongs to one running node: its lock and its private mode."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from node.errors import AlreadyRunning, StateRefused

LOCK: Final = "lock"


PRIVATE: Final = 0o077
"""What others may not: images and results are of patients. A folder that is there keeps what its owner
allowed to a group."""


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the state folder for this process. Raises `AlreadyRunning` and `StateRefused`."""
    try:
        _private(state)
        handle = os.open(state / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateRefused(
            f"[node] state {state}: {error.strerror}; make it writable or configure another folder"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise AlreadyRunning(
            f"another node runs on {state}; stop it or configure another [node] state"
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def _private(state: Path) -> None:
    """Make the state folder for its owner alone, or take from others what they may in the one that is there."""
    if not state.is_dir():
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700)
        return
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & stat.S_IRWXO:
        with suppress(PermissionError):  # another one's folder that we may use
            state.chmod(mode & ~stat.S_IRWXO)
