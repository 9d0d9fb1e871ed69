"""The spool: received objects as durable Part 10 files, named by their content.

Order per object: part file → fdatasync → rename → fsync of the directory. Only then may the journal
hear of it, and only then the sender. Names never come from what was received.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicomseg.context import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from node.folder import PART, sync_folder

SPOOL: Final = "spool"
QUARANTINE: Final = "quarantine"
PREAMBLE: Final = b"\0" * 128 + b"DICM"


@dataclass(frozen=True, slots=True)
class Stored:
    """One durable file; digest is of the data set's bytes, bytes the size of the file."""

    path: Path
    digest: str
    bytes: int


def file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae: str
) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 section 7.1) for a received data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    if calling_ae:
        meta.SendingApplicationEntityTitle = calling_ae
    out = DicomBytesIO()
    out.write(PREAMBLE)
    write_file_meta_info(out, meta, enforce_standard=False)
    return bytes(out.getvalue())


def digest_of(data: bytes | memoryview) -> str:
    """sha256 of a data set's bytes: the object's identity by content."""
    return hashlib.sha256(data).hexdigest()


class Spool:
    """Folders `spool/` and `quarantine/` below the state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        for name in (SPOOL, QUARANTINE):
            (state / name).mkdir(parents=True, exist_ok=True)

    def put(self, meta: bytes, data: bytes | memoryview) -> Stored:
        """Keep one object; returns when it survives a power cut. Raises OSError when the disk does not take it."""
        return self._keep(SPOOL, meta, data)

    def quarantine(self, meta: bytes, data: bytes | memoryview) -> Stored:
        """Keep an object that must not be used."""
        return self._keep(QUARANTINE, meta, data)

    def _keep(self, area: str, meta: bytes, data: bytes | memoryview) -> Stored:
        digest = digest_of(data)
        # Two objects may share their data set's bytes only when they are the same object.
        folder = self.state / area / digest[:2]
        path = folder / f"{digest}.dcm"
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        part = folder / f"{os.urandom(8).hex()}{PART}"
        try:
            with part.open("wb") as file:
                file.write(meta)
                file.write(data)
                file.flush()
                os.fdatasync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        sync_folder(folder)
        return Stored(path, digest, len(meta) + len(data))

    def sweep(self) -> int:
        """Remove part files that a killed receiver left; nothing of them was acknowledged."""
        parts = [p for area in (SPOOL, QUARANTINE) for p in (self.state / area).rglob(f"*{PART}")]
        for part in parts:
            part.unlink(missing_ok=True)
        return len(parts)

    def orphans(self, known: AbstractSet[str]) -> list[Path]:
        """Whole files in the spool that no journal row names: killed between rename and commit."""
        return sorted(p for p in (self.state / SPOOL).rglob("*.dcm") if str(p) not in known)
