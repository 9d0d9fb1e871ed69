"""A small file system of memory that can be filled to its last byte or be made read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fault.lab import Lab
from tests.fault.surroundings import NotPossible


@dataclass(frozen=True, slots=True)
class Small:
    """A mounted tmpfs."""

    path: Path

    @classmethod
    def mounted(cls, lab: Lab, path: Path, megabytes: int) -> Small:
        """Mount it until the scenario ends. Raises `NotPossible`."""
        path.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise NotPossible(f"no mount here ({error})") from error
        if done.returncode != 0:
            raise NotPossible(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        lab.finally_(lambda: subprocess.run(["umount", "-l", str(path)], check=False))
        return cls(path)

    def read_only(self, *, on: bool) -> bool:
        """Let nothing be written below it; False where the kernel refuses, as with files open for writing."""
        command = ["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self, leave: int = 0) -> None:
        """Take all of its space but so many bytes."""
        space = os.statvfs(self.path)
        free = space.f_bavail * space.f_frsize - leave
        handle = os.open(self.path / "ballast", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            size = os.fstat(handle).st_size
            while free >= space.f_frsize:
                try:
                    os.posix_fallocate(handle, size, free)
                    break
                except OSError:  # another writer was quicker
                    free //= 2
        finally:
            os.close(handle)

    def free(self) -> None:
        """Give the space back."""
        (self.path / "ballast").unlink(missing_ok=True)


@contextmanager
def immutable(*folders: Path) -> Iterator[None]:
    """Let no name be made or changed in folders that a running node has open. Raises `NotPossible`."""
    names = [str(f) for f in folders]

    def change(flag: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["chattr", flag, *names], capture_output=True, text=True, check=False)

    try:
        done = change("+i")
    except OSError as error:
        raise NotPossible(f"no chattr here ({error})") from error
    if done.returncode != 0:
        change("-i")
        raise NotPossible(f"folders cannot be made immutable here: {done.stderr.strip()[:100]}")
    try:
        yield
    finally:
        change("-i")
