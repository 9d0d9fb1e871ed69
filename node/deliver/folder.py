"""`kind = "folder"`: `<path>/<result id>/<file>`, verified by reading the files back."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.deliver.offers import EchoAnswer, Offer, all_accepted
from node.deliver.port import NO_FOLDER, Outcome, ResultFile, StorageCheck, all_alike
from node.durable import publish, replace_durably
from node.errors import PeerUnreachable

_AWAY: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EACCES,
        errno.EROFS,
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
    }
)
"""Errors of a folder that is away: not mounted, or its server is down. A full disk is none."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on disk; a result's folder in it appears complete or not at all."""

    name: str
    path: Path

    def send(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Copy the files into the result's folder, durably."""
        try:
            for result_id in dict.fromkeys(p.path.parent.name for p in files):
                self._write(result_id, [p for p in files if p.path.parent.name == result_id])
        except OSError as error:
            text = f"{self.path}: {error.strerror}; check the folder, its permissions and its space"
            status = NO_FOLDER if error.errno in _AWAY else ""
            return all_alike(files, "transient", text, status)
        return all_alike(files, "accepted", "")

    def _write(self, result_id: str, files: Sequence[ResultFile]) -> None:
        if not (self.path / result_id).exists():
            publish(self.path, result_id, {p.name: p.path.read_bytes() for p in files})
            return
        for file in files:
            target = self.path / result_id / file.name
            if not target.exists() or _digest(target) != file.sha256:
                replace_durably(target, file.path.read_bytes())

    def verify_stored(self, files: Sequence[ResultFile]) -> StorageCheck:
        """Read every file back and compare its digest."""
        try:
            missing = tuple(p.name for p in files if not self._holds(p))
        except OSError as error:
            return StorageCheck("unknown", f"{error.filename}: {error.strerror}; check the folder")
        if missing:
            text = f"{self.path}: absent, or with other bytes than sent: {', '.join(missing)}"
            return StorageCheck("missing", text, missing)
        return StorageCheck("stored", f"{len(files)} files read back with equal digests")

    def _holds(self, file: ResultFile) -> bool:
        try:
            return _digest(self.path / file.path.parent.name / file.name) == file.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False

    def count(self, study: str, series: str) -> int | None:
        """Return None: the folder holds results, no series."""
        del study, series
        return None

    def probe(self) -> bool:
        """Return whether the folder, or where it is made, can be written."""
        try:
            self.echo()
        except (PeerUnreachable, OSError):
            return False
        return True

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Check that the folder, or the nearest one above it that exists, can be written; nothing is."""
        place = next(p for p in (self.path, *self.path.parents) if p.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            why = "no permission to write" if place.is_dir() else "it is no folder"
            raise PeerUnreachable(
                f"destination {self.name}: {place}: {why}; check the path and its permissions"
            )
        text = "can be written" if place == self.path else f"can be made in {place}"
        return EchoAnswer(f"folder {self.path} {text}", all_accepted(offers))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
