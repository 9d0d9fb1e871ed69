"""The durable writes of the node: a name appears with all its bytes or not at all, and stays after a power cut.

What root makes belongs to the owner of its folder: a command of root must leave nothing that the service cannot use.

The only module of this package that renames or syncs; a test looks for others.
"""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PART: Final = ".part"
"""Ending of what is not finished; swept when the same thing is written again."""

_LIBC: Final = ctypes.CDLL(None)
_SYNC_FILE_RANGE: Final = getattr(_LIBC, "sync_file_range", None)
"""Linux only: hands dirty pages to the disk and returns at once."""
_WRITE: Final = 2
"""SYNC_FILE_RANGE_WRITE: waits for nothing and takes no error away, so that `sync_bytes` still raises it."""


def private_folder(path: Path) -> None:
    """Make a folder, and those above it, that only this user may look into; one that is there stays as it is."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        hand_over(path)


def hand_over(path: Path) -> None:
    """Give what root made to the owner of the folder in which it lies; what another user made is that user's."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        if owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid)


# ---- files ---------------------------------------------------------------------------------------


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it; the folder's entry is the caller's to sync.

    It is as private as its folder: who may not look into that may not read the file, whatever the umask.
    """
    mode = path.parent.stat().st_mode & 0o666
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        hand_over(path)
        file.write(content)
        file.flush()
        os.fsync(handle)


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file's bytes to a new one and wait until the disk has them; as `write_durably` else."""
    with source.open("rb") as bytes_in, target.open("xb") as bytes_out:
        hand_over(target)
        shutil.copyfileobj(bytes_in, bytes_out)
        bytes_out.flush()
        os.fsync(bytes_out.fileno())


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there: a reader sees the old bytes or the new."""
    part = path.with_name(f".{path.name}{PART}")
    write_durably(part, content)
    move_durably(part, path)


def append_durably(path: Path, content: bytes) -> None:
    """Append to a file, which only its owner may read, and wait until the disk has it.

    A kill or a full disk may leave a part of the content at the end of the file.
    """
    is_new = not path.exists()
    handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "ab") as file:
        if is_new:
            hand_over(path)
        file.write(content)
        file.flush()
        os.fsync(handle)
    if is_new:
        sync_folder(path.parent)


def begin_to_sync(handle: int, at: int) -> None:
    """Let the disk begin with the bytes of an open file from there on; nothing is durable before `sync_bytes`."""
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(handle, ctypes.c_int64(at), ctypes.c_int64(0), _WRITE)


def sync_bytes(handle: int) -> None:
    """Return when the disk has the bytes of an open file. Raises OSError."""
    os.fdatasync(handle)


# ---- names ---------------------------------------------------------------------------------------


def move(source: str | Path, target: str | Path) -> None:
    """Rename within one file system, over a file of this name; the folder's entry is the caller's to sync."""
    os.replace(source, target)  # noqa: PTH105 - once for every object, from names that are texts


def move_durably(source: Path, target: Path) -> None:
    """Rename within one file system, over a file of this name, and wait until the disk has the new names."""
    move(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- folders -------------------------------------------------------------------------------------


@contextmanager
def unfinished_folder(target: Path, part: Path) -> Iterator[Path]:
    """Yield the empty folder `part`, beside `target`, to which it is renamed durably when the block ends.

    The files in it are the block's to sync. Nothing is left of it when the block raises, or when a folder
    `target` that is not empty is there at the end (`OSError`).
    """
    private_folder(target.parent)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    hand_over(part)
    part.chmod(target.parent.stat().st_mode & 0o777)
    try:
        yield part
        sync_folder(part)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # it has another name after a success
    sync_folder(target.parent)


def publish(root: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write `root/name` with these files; the folder that is there first wins and stays as it is.

    files: content by path within the folder, which may name a folder below it.
    """
    target = root / name
    if target.exists():
        return target
    _remove_left(root, name)
    try:
        with unfinished_folder(target, root / f".{name}.{os.getpid()}{PART}") as part:
            _write_all(part, files)
    except OSError:
        if not target.is_dir():
            raise
        sync_folder(root)
    return target


def _remove_left(root: Path, name: str) -> None:
    """Remove what killed processes left of this folder."""
    for part in root.glob(f".{glob.escape(name)}.*{PART}"):
        process = part.name.removesuffix(PART).rpartition(".")[2]
        if process.isdecimal() and not Path("/proc", process).exists():
            shutil.rmtree(part, ignore_errors=True)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder, durably but for the folder's own entries."""
    below: set[Path] = set()
    for name, content in files.items():
        path = folder / name
        if path.parent != folder and path.parent not in below:
            path.parent.mkdir()
            hand_over(path.parent)
            path.parent.chmod(folder.stat().st_mode & 0o777)
            below.add(path.parent)
        write_durably(path, content)
    for subfolder in below:
        sync_folder(subfolder)
