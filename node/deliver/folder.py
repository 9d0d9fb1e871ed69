"""`kind = "folder"`: `<path>/<result id>/<file>`, proved by reading the files back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.deliver.port import Outcome, Parcel, PeerUnreachable, Proof, all_alike
from node.durable import publish, replace_durably


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on disk; a result's folder in it appears whole or not at all."""

    name: str
    path: Path

    def send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Copy the files into the result's folder, durably."""
        try:
            for result_id in dict.fromkeys(p.path.parent.name for p in parcels):
                self._place(result_id, [p for p in parcels if p.path.parent.name == result_id])
        except OSError as error:
            text = f"{self.path}: {error.strerror}; check the folder, its permissions and its space"
            return all_alike(parcels, "transient", text)
        return all_alike(parcels, "accepted", "")

    def _place(self, result_id: str, parcels: Sequence[Parcel]) -> None:
        if not (self.path / result_id).exists():
            publish(self.path, result_id, {p.file: p.path.read_bytes() for p in parcels})
            return
        for parcel in parcels:
            file = self.path / result_id / parcel.file
            if not file.exists() or _digest(file) != parcel.sha256:
                replace_durably(file, parcel.path.read_bytes())

    def prove(self, parcels: Sequence[Parcel]) -> Proof:
        """Read every file back and compare its digest."""
        try:
            missing = tuple(p.file for p in parcels if not self._holds(p))
        except OSError as error:
            return Proof("unknown", f"{error.filename}: {error.strerror}; check the folder")
        if missing:
            text = f"{self.path}: absent, or with other bytes than sent: {', '.join(missing)}"
            return Proof("missing", text, missing)
        return Proof("found", f"{len(parcels)} files read back with equal digests")

    def _holds(self, parcel: Parcel) -> bool:
        try:
            return _digest(self.path / parcel.path.parent.name / parcel.file) == parcel.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False

    def count(self, study: str, series: str) -> int | None:
        """Return None: the folder holds results, no series."""
        del study, series
        return None

    def reach(self) -> str:
        """Check that the folder, or the nearest one above it that exists, can be written; nothing is."""
        place = next(p for p in (self.path, *self.path.parents) if p.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            why = "no permission to write" if place.is_dir() else "it is no folder"
            raise PeerUnreachable(
                f"destination {self.name}: {place}: {why}; check the path and its permissions"
            )
        if place == self.path:
            return f"folder {self.path} can be written"
        return f"folder {self.path} can be made in {place}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
