"""The spool: received objects as durable Part 10 files, named by their content.

Order per object: part file, as its bytes come → fdatasync → rename → fsync of the directory. Only then may the journal
hear of it, and only then the sender. Names never come from what was received.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import struct
import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicomseg.read import parsing
from node.durable import PART, move, move_durably, private_folder, sync_folder
from node.store.incoming import Incoming, Room
from node.store.layout import StateDirectory

PREAMBLE: Final = b"\0" * 128 + b"DICM"
_PIECE: Final = 1 << 20
"""Bytes of a file that are hashed at a time."""
_HEAD: Final = 1 << 16
"""Bytes that hold a file's meta information: a command set, from which it is made, is shorter."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One durable file; digest is of the data set's bytes, bytes the size of the file."""

    path: Path
    digest: str
    bytes: int


def file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae: str
) -> bytes:
    """Return the preamble, prefix and file meta information (PS3.10 section 7.1) for a received data set."""
    # Packed here because pydicom's way took a fifth of the time of receiving an object.
    group = b"".join(
        (
            struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\0\1",
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION),
            _element(0x0017, b"AE", calling_ae) if calling_ae else b"",
        )
    )
    return PREAMBLE + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(group)) + group


def _element(number: int, vr: bytes, text: str) -> bytes:
    """One element of group 0002 with a short length field (PS3.5 section 7.1.2)."""
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def hash_bytes(file: BinaryIO) -> str:
    """Return the sha256 of a data set's bytes, from the file's position on."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def file_stem(digest: str, transfer_syntax_uid: str) -> str:
    """Name of an object's file, without its ending: its data set and the transfer syntax that reads it."""
    return f"{digest}-{_syntax_name(transfer_syntax_uid)}"


@functools.lru_cache(maxsize=64)
def _syntax_name(transfer_syntax_uid: str) -> str:
    return hashlib.sha256(transfer_syntax_uid.encode()).hexdigest()[:8]


def data_set_digest(path: Path) -> str:
    """Return the sha256 of a file's data set: of everything behind the file meta information. Raises OSError."""
    with path.open("rb") as file:
        file.seek(parsing.split_file_meta(file.read(_HEAD))[0])
        return hash_bytes(file)


def _bytes(path: Path) -> int:
    """Size of a file, 0 where there is none: it may be purged at any moment."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Spool:
    """Folders `spool/` and `quarantine/` below the state folder; no other user reads them.

    A file that is there is never written again: what was acknowledged stays as it was.
    """

    def __init__(self, state: Path) -> None:
        self.directory, self._naming = StateDirectory(state), threading.Lock()
        self._areas = (self.directory.spool, self.directory.quarantine)
        self._room = Room(self._areas[0])
        for folder in (*self._areas, self.directory.results):
            private_folder(folder)
            folder.chmod(0o700)  # an earlier version left them for all to read

    def begin(self, meta: bytes) -> Incoming:
        """Begin a file with its meta information. Raises `DiskFull` and OSError."""
        return Incoming(self._areas[0], meta, self._room)

    def put(self, incoming: Incoming, transfer_syntax_uid: str) -> Stored:
        """Keep one object; returns when it survives a power cut. Raises OSError."""
        return self._keep(self.directory.spool, incoming, transfer_syntax_uid)

    def quarantine(self, incoming: Incoming, transfer_syntax_uid: str) -> Stored:
        """Keep an object that must not be used, as `put` does."""
        return self._keep(self.directory.quarantine, incoming, transfer_syntax_uid)

    def place(self, incoming: Incoming, transfer_syntax_uid: str) -> Stored:
        """Put the durable bytes of an object under its name; the folder's entry is the caller's to sync. Raises OSError."""
        return self._place(self._areas[0], incoming, transfer_syntax_uid)

    def _keep(self, area: Path, incoming: Incoming, transfer_syntax_uid: str) -> Stored:
        stored = self._place(area, incoming, transfer_syntax_uid)
        sync_folder(stored.path.parent)
        return stored

    def _place(self, area: Path, incoming: Incoming, transfer_syntax_uid: str) -> Stored:
        digest = incoming.digest
        path = Path(f"{area}/{digest[:2]}/{file_stem(digest, transfer_syntax_uid)}.dcm")
        name = str(path)
        try:
            incoming.sync()
            size = incoming.file_bytes
            with self._naming:  # two senders of one object: the second finds the first one's file
                found = _bytes(path) if path.exists() and self.intact(path, digest) else 0
                size = found or size
                if not found:
                    self._name(incoming, name)
        finally:
            incoming.discard()
        return Stored(path, digest, size)

    @staticmethod
    def _name(incoming: Incoming, name: str) -> None:
        try:
            move(incoming.name, name)
        except FileNotFoundError:  # the first object of its folder
            folder = Path(name).parent
            private_folder(folder)
            sync_folder(folder.parent)
            move(incoming.name, name)
        incoming.kept()

    def restore(self, path: Path, incoming: Incoming) -> bool:
        """Put a known object in the place of its file where that is lost or damaged (True), else forget it."""
        lost = not self.intact(path, incoming.digest)
        if lost:
            incoming.sync()
            private_folder(path.parent)
            move_durably(incoming.path, path)
            incoming.kept()
        incoming.discard()
        return lost

    @staticmethod
    def intact(path: Path, digest: str) -> bool:
        """Return whether a file is there and its data set has this digest; a damaged one may be replaced."""
        try:
            return data_set_digest(path) == digest
        except OSError:
            return False

    def sweep(self) -> int:
        """Remove what a killed receiver or worker left half written; nothing of it was acknowledged."""
        parts = [p for area in self._areas for p in area.rglob(f"*{PART}")]
        for part in parts:
            part.unlink(missing_ok=True)
        folders = list(self.directory.results.glob(f".*{PART}"))
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return len(parts) + len(folders)

    def set_aside(self, path: Path) -> Path:
        """Move a file of the spool that cannot be used to the quarantine."""
        target = self.directory.quarantine / path.name
        move_durably(path, target)
        return target

    @staticmethod
    def bring_back(found: Path, path: Path) -> None:
        """Move a file back to where its row looks for it. Raises OSError."""
        private_folder(path.parent)
        move_durably(found, path)

    def orphans(self, known: AbstractSet[str], area: Path) -> list[Path]:
        """Return the files of `spool/` or `quarantine/` that no journal row names: killed between rename and commit."""
        files = (p for p in area.rglob("*.dcm") if p.is_file())
        return sorted(p for p in files if str(p) not in known)
