"""Folders that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PART: Final = ".part"
"""Ending of what is not finished; swept when the same thing is written again."""


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it; the folder's entry is the caller's to sync."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
    root.mkdir(parents=True, exist_ok=True)
    part = root / f".{name}.{os.getpid()}{PART}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
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
