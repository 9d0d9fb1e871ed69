"""Where results go: the port `Destination`, the fake, and the choice by configuration.

A destination never raises for what a peer or a disk does: it answers per object, *accepted*,
*transient* (try again) or *permanent* (give up), and proves afterwards what it holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, Protocol

from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage, SegmentationStorage

from dicomseg.errors import LumbarError
from node.config.destinations import (
    DestinationConfig,
    DicomDestination,
    FolderDestination,
    ObjectFile,
)
from node.errors import DamagedResult

Answer = Literal["accepted", "transient", "permanent"]

NO_ASSOCIATION, NO_ANSWER = "no association", "no answer"
UNREACHABLE: Final = frozenset({NO_ASSOCIATION, NO_ANSWER})
"""Statuses of a peer that could not be spoken to, so that what waits behind need not try at once."""

SOP_CLASSES: Final[Mapping[ObjectFile, str]] = MappingProxyType(
    {
        "seg.dcm": SegmentationStorage,
        "midplane.dcm": MRImageStorage,
        "measurements.dcm": Comprehensive3DSRStorage,
        "volumes.dcm": Comprehensive3DSRStorage,
    }
)
"""What each file of a result is, so that a peer can be asked beforehand whether it takes it."""


_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class PeerUnreachable(LumbarError):
    """A destination does not answer, or refuses; the message names it and what to check."""

    code = "peer-unreachable"
    exit_code = 5


@dataclass(frozen=True, slots=True)
class Parcel:
    """One file of a result folder with its UIDs ("" for files that are no DICOM objects)."""

    path: Path
    sha256: str
    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    series: str = ""
    transfer_syntax: str = ""

    @property
    def file(self) -> str:
        """Name in the result folder, e.g. ``seg.dcm``."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file; `status` is the peer's own code, e.g. ``0xA700`` or ``HTTP 503``."""

    file: str
    answer: Answer
    text: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the peer holds every object.

    found: it names every one. missing: it answers, and does not have those in `missing`. unknown: no
    answer that says either, ask again. not_offered: it says, or the configuration does, that it cannot
    be asked. status: the peer's own code, as in `Outcome`.
    """

    value: Literal["found", "missing", "unknown", "not_offered"]
    text: str = ""
    missing: tuple[str, ...] = ()
    status: str = ""


class Destination(Protocol):
    """Something that takes results. All implementations pass tests/contracts/test_destination.py."""

    @property
    def name(self) -> str:
        """Name in the configuration and the journal."""
        ...

    def send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Send every file; one outcome per file, in order. Sending twice is harmless."""
        ...

    def prove(self, parcels: Sequence[Parcel]) -> Proof:
        """Ask whether every file has arrived."""
        ...

    def count(self, study: str, series: str) -> int | None:
        """Ask how many objects of a series the peer holds; None when that cannot be known now."""
        ...

    def reach(self) -> str:
        """Say who answers (for people), and change nothing there. Raises `PeerUnreachable`."""
        ...


def parcels_in(folder: Path, files: Sequence[str]) -> tuple[Parcel, ...]:
    """Read the named files of a result folder into parcels, in the given order.

    Raises:
        DamagedResult: a file is gone, or its digest is not the one in `result.json`.
        OSError: a file cannot be read just now.
    """
    try:
        listed = json.loads((folder / "result.json").read_text("utf-8"))["objects"]
        digests = {one["file"]: one["sha256"] for one in listed}
    except _GONE as error:
        raise DamagedResult(f"{error.filename}: {error.strerror}; {_AGAIN}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedResult(f"{folder}/result.json: no list of objects in it; {_AGAIN}") from error
    return tuple(_checked(folder / name, digests.get(name)) for name in files)


_GONE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Errors of a file that stay; a disk that cannot be read just now raises others."""

_AGAIN: Final = "`lumbar-node retry UID --force` makes the result again"


def _checked(path: Path, digest: str | None) -> Parcel:
    if digest is None:
        raise DamagedResult(f"{path}: not in the list of result.json; {_AGAIN}")
    try:
        parcel = parcel_of(path)
    except _GONE as error:
        raise DamagedResult(f"{path}: {error.strerror}; {_AGAIN}") from error
    if parcel.sha256 != digest:
        raise DamagedResult(f"{path}: not the bytes that were written, by its digest; {_AGAIN}")
    return parcel


def parcel_of(path: Path) -> Parcel:
    """Read one file into a parcel; one that is no DICOM object has no UIDs."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix != ".dcm":
        return Parcel(path, digest)
    try:
        ds = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(_UIDS))
        sop_class, sop_instance, study, series = (str(ds[keyword].value) for keyword in _UIDS)
        syntax = str(ds.file_meta.TransferSyntaxUID)
    except Exception:  # noqa: BLE001 - damaged bytes make pydicom raise anything
        return Parcel(path, digest)
    return Parcel(path, digest, sop_class, sop_instance, study, series, syntax)


def all_alike(
    parcels: Sequence[Parcel], answer: Answer, text: str, status: str = ""
) -> tuple[Outcome, ...]:
    """Give every file the same outcome, as when nothing could be sent."""
    return tuple(Outcome(p.file, answer, text, status) for p in parcels)


# ---- the fake ------------------------------------------------------------------------------------


@dataclass(slots=True)
class InMemory:
    """A destination for tests: keeps what it gets, and answers by a script when given one.

    script: what each call of `send` answers, first to last; afterwards it accepts. One outcome is for every
    file, a tuple for those that it names. proofs: the same for `prove`. series: what `count` knows, by study and series.
    """

    name: str
    script: list[Outcome | tuple[Outcome, ...]] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    held: dict[str, bytes] = field(default_factory=dict)
    series: dict[tuple[str, str], int] = field(default_factory=dict)
    offers_proof: bool = True
    sends: int = 0
    asked: int = 0

    def send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Keep every file, or answer the next line of the script; those it does not name are kept."""
        self.sends += 1
        said = self.script.pop(0) if self.script else ()
        if isinstance(said, Outcome):
            return all_alike(parcels, said.answer, said.text, said.status)
        answers = {o.file: o for o in said}
        kept = [p for p in parcels if p.file not in answers]
        self.held |= {f"{p.path.parent.name}/{p.file}": p.path.read_bytes() for p in kept}
        return tuple(answers.get(p.file, Outcome(p.file, "accepted")) for p in parcels)

    def prove(self, parcels: Sequence[Parcel]) -> Proof:
        """Answer the next of `proofs`, or compare digests with what is held."""
        self.asked += 1
        if self.proofs:
            return self.proofs.pop(0)
        if not self.offers_proof:
            return Proof("not_offered", "no proof offered")
        missing = tuple(p.file for p in parcels if not self._holds(p))
        if missing:
            return Proof("missing", f"not held: {', '.join(missing)}", missing)
        return Proof("found", "")

    def _holds(self, parcel: Parcel) -> bool:
        content = self.held.get(f"{parcel.path.parent.name}/{parcel.file}")
        return content is not None and hashlib.sha256(content).hexdigest() == parcel.sha256

    def count(self, study: str, series: str) -> int | None:
        """Answer from `series`."""
        return self.series.get((study, series))

    def reach(self) -> str:
        """Answer always."""
        return "in memory"


# ---- choice --------------------------------------------------------------------------------------


def build(config: DestinationConfig, ae_title: str) -> Destination:
    """Make the destination that the configuration describes; network code is imported here only."""
    if isinstance(config, FolderDestination):
        from node.deliver.folder import Folder  # noqa: PLC0415 - it imports this module

        return Folder(config.name, config.path)
    if isinstance(config, DicomDestination):
        from node.deliver.dicom import Pacs  # noqa: PLC0415 - half a second of pynetdicom

        return Pacs.of(config, ae_title)
    from node.deliver.dicomweb import DicomwebServer  # noqa: PLC0415 - as above

    return DicomwebServer.of(config)


def build_all(configs: Sequence[DestinationConfig], ae_title: str) -> Mapping[str, Destination]:
    """Every configured destination by its name."""
    return {c.name: build(c, ae_title) for c in configs}
