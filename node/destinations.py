"""Where results go: the port `Destination`, the folder, the fake, and the choice by configuration.

A destination never raises for what a peer or a disk does: it answers per object, *accepted*,
*transient* (try again) or *permanent* (give up), and proves afterwards what it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydicom import dcmread

from dicomseg.errors import LumbarError
from node.config import DestinationConfig, DicomDestination, FolderDestination
from node.folder import PART, publish, replace_durably

Answer = Literal["accepted", "transient", "permanent"]


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
    """Whether the peer holds every object: found, missing (which), or it cannot be asked."""

    value: Literal["found", "missing", "not_offered"]
    text: str = ""


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

    def reach(self) -> str:
        """Say who answers (for people). Raises `PeerUnreachable`."""
        ...


def parcels_in(folder: Path, files: Sequence[str]) -> tuple[Parcel, ...]:
    """Read the named files of a result folder into parcels, in the given order."""
    return tuple(_parcel(folder / name) for name in files)


def _parcel(path: Path) -> Parcel:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix != ".dcm":
        return Parcel(path, digest)
    ds = dcmread(
        path,
        stop_before_pixels=True,
        specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"],
    )
    return Parcel(
        path,
        digest,
        str(ds.SOPClassUID),
        str(ds.SOPInstanceUID),
        str(ds.StudyInstanceUID),
        str(ds.SeriesInstanceUID),
        str(ds.file_meta.TransferSyntaxUID),
    )


def all_alike(
    parcels: Sequence[Parcel], answer: Answer, text: str, status: str = ""
) -> tuple[Outcome, ...]:
    """Give every file the same outcome, as when nothing could be sent."""
    return tuple(Outcome(p.file, answer, text, status) for p in parcels)


# ---- folder --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folder:
    """`kind = "folder"`: `<path>/<result id>/<file>`; a result's folder appears whole or not at all."""

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
            bad = [
                p.file
                for p in parcels
                if _digest(self.path / p.path.parent.name / p.file) != p.sha256
            ]
        except OSError as error:
            return Proof("missing", f"{error.filename}: {error.strerror}")
        if bad:
            return Proof("missing", f"other bytes than sent in {', '.join(bad)}")
        return Proof("found", f"{len(parcels)} files read back with equal digests")

    def reach(self) -> str:
        """Write and remove a file."""
        probe = self.path / f".probe{PART}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise PeerUnreachable(
                f"destination {self.name}: {self.path} cannot be written ({error.strerror}); "
                "check the folder and its permissions"
            ) from error
        return f"folder {self.path} can be written"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- the fake ------------------------------------------------------------------------------------


@dataclass(slots=True)
class InMemory:
    """A destination for tests: keeps what it gets, and answers by a script when given one.

    script: what each call of `send` answers, first to last; afterwards it accepts.
    """

    name: str
    script: list[Outcome] = field(default_factory=list)
    held: dict[str, bytes] = field(default_factory=dict)
    offers_proof: bool = True
    sends: int = 0

    def send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Keep every file, or answer the next line of the script for all of them."""
        self.sends += 1
        if self.script:
            said = self.script.pop(0)
            return all_alike(parcels, said.answer, said.text, said.status)
        self.held |= {f"{p.path.parent.name}/{p.file}": p.path.read_bytes() for p in parcels}
        return all_alike(parcels, "accepted", "")

    def prove(self, parcels: Sequence[Parcel]) -> Proof:
        """Compare digests with what is held."""
        if not self.offers_proof:
            return Proof("not_offered", "no proof offered")
        for parcel in parcels:
            content = self.held.get(f"{parcel.path.parent.name}/{parcel.file}")
            if content is None or hashlib.sha256(content).hexdigest() != parcel.sha256:
                return Proof("missing", f"{parcel.file} is not held")
        return Proof("found", "")

    def reach(self) -> str:
        """Answer always."""
        return "in memory"


# ---- choice --------------------------------------------------------------------------------------


def build(config: DestinationConfig, ae_title: str) -> Destination:
    """Make the destination that the configuration describes; network code is imported here only."""
    if isinstance(config, FolderDestination):
        return Folder(config.name, config.path)
    if isinstance(config, DicomDestination):
        from node.destination_dicom import Pacs  # noqa: PLC0415 - half a second of pynetdicom

        return Pacs.of(config, ae_title)
    from node.destination_dicomweb import DicomwebServer  # noqa: PLC0415 - as above

    return DicomwebServer.of(config)


def build_all(configs: Sequence[DestinationConfig], ae_title: str) -> Mapping[str, Destination]:
    """Every configured destination by its name."""
    return {c.name: build(c, ae_title) for c in configs}
