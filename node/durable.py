"""Folders that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PART: Final = ".part"
"""Ending of what is not finished; swept when the same thing is written again."""


def private_folder(path: Path) -> None:
    """Make a folder, and those above it, that only this user may look into; one that is there stays as it is."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it; the folder's entry is the caller's to sync.

    It is as private as its folder: who may not look into that may not read the file, whatever the umask.
    """
    mode = path.parent.stat().st_mode & 0o666
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)
        file.flush()
        os.fsync(handle)


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there: a reader sees the old bytes or the new."""
    part = path.with_name(f".{path.name}{PART}")
    write_durably(part, content)
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(root: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write `root/name` with these files; the folder that is there first wins and stays as it is."""
    target = root / name
    if target.exists():
        return target
    private_folder(root)
    part = root / f".{name}.{os.getpid()}{PART}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    part.chmod(root.stat().st_mode & 0o777)
    for file, content in files.items():
        write_durably(part / file, content)
    sync_folder(part)
    try:
        part.rename(target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        if not target.is_dir():
            raise
    sync_folder(root)
    return target
