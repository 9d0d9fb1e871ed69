"""Where results go: the port `Destination` and the files of a result.

A destination never raises for what a peer or a disk does: it answers per object, *accepted*,
*transient* (try again) or *permanent* (give up), and reports afterwards what it holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final, Literal, Protocol

from pydicom import dcmread

from node.commitment import Reference, Report, Request
from node.config.profiles import FOLLOWUP_PICTURES, PICTURES
from node.deliver.offers import EchoAnswer, Offer
from node.errors import DamagedResult
from node.store.results import RESULT_FILE

Disposition = Literal["accepted", "transient", "permanent"]

NO_ASSOCIATION, NO_ANSWER, NO_FOLDER = "no association", "no answer", "no folder"
UNREACHABLE: Final = frozenset({NO_ASSOCIATION, NO_ANSWER, NO_FOLDER})
"""Statuses of a peer that could not be spoken to, so that what waits behind need not try at once."""

_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One file of a result with its UIDs ("" for files that are no DICOM objects).

    plain: the same object uncompressed, for a peer that does not take it compressed.
    """

    path: Path
    sha256: str
    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    series: str = ""
    transfer_syntax: str = ""
    plain: ResultFile | None = None

    @property
    def name(self) -> str:
        """Name in the result folder, e.g. ``seg.dcm``."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file; `status` is the peer's own code, e.g. ``0xA700`` or ``HTTP 503``.

    wait_s: seconds for which the peer asks not to be tried again, 0 where it does not say.
    """

    file: str
    disposition: Disposition
    text: str = ""
    status: str = ""
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StorageCheck:
    """Whether the peer holds every object.

    stored: it names every one. missing: it answers, and does not have those in `missing`. refused: it took and does
    not keep those in `refused`, for reasons that stay. unknown: no answer that says either, ask again, where
    `wait_s` is given not before. asked: it will report, for at most `wait_s`. unsupported: the peer, or the configuration, rules such a question out. status: the
    peer's own code, as in `Outcome`. proof: how `stored` is known, as in `DeliveryRow`.
    """

    value: Literal["stored", "missing", "refused", "unknown", "asked", "unsupported"]
    text: str = ""
    missing: tuple[str, ...] = ()
    status: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    proof: Literal["stored", "committed"] = "stored"


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """What a peer says to a request for storage commitment.

    accepted: it will report, or has reported. unsupported: it does not serve such requests. unknown: no answer
    that says either, ask again. status: the peer's own code, as in `Outcome`.
    """

    value: Literal["accepted", "unsupported", "unknown"]
    text: str
    status: str = ""


class Archive(Protocol):
    """A destination that can be asked for storage commitment, and takes reports on ours."""

    def commit(
        self,
        request: Request,
        wait_s: float,
        keep: Callable[[Report], None],
        reported: Callable[[], bool],
    ) -> CommitmentAnswer:
        """Ask for commitment and wait a little for the report over the same association.

        keep: makes a report durable, called from another thread. reported: whether it came otherwise.
        """
        ...

    def tell(
        self, transaction_uid: str, references: Sequence[Reference], failed: Mapping[str, int]
    ) -> str:
        """Report on a commitment that the peer asked for; returns "", or why it did not take it."""
        ...


class Destination(Protocol):
    """Something that takes results. All implementations pass tests/contracts/test_destination.py."""

    @property
    def name(self) -> str:
        """Name in the configuration and the journal."""
        ...

    def send(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Send every file; one outcome per file, in order. Sending twice is harmless."""
        ...

    def verify_stored(self, files: Sequence[ResultFile]) -> StorageCheck:
        """Ask whether every file has arrived."""
        ...

    def count(self, study: str, series: str) -> int | None:
        """Ask how many objects of a series the peer holds; None when that cannot be known now."""
        ...

    def probe(self) -> bool:
        """Ask by the cheapest question whether the destination responds at all."""
        ...

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Ask whether the peer responds and takes these objects; nothing changes there. Raises `PeerUnreachable`."""
        ...


class QueryUnsupported(Exception):
    """The peer reports that it does not support such queries: how it reports that."""


class QueryUnanswered(Exception):
    """The query brought no usable answer this time: what came instead. wait_s: as in `Outcome`."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


def result_files(folder: Path, files: Sequence[str]) -> tuple[ResultFile, ...]:
    """Read the named files of a result folder, in the given order; pictures that it does not list are left out.

    Raises:
        DamagedResult: a file is gone, or its digest is not the one in `result.json`.
        OSError: a file cannot be read just now.
    """
    try:
        listed = json.loads((folder / RESULT_FILE).read_text("utf-8"))["objects"]
        digests = {entry["file"]: entry["sha256"] for entry in listed}
    except _GONE as error:
        raise DamagedResult(f"{error.filename}: {error.strerror}; {_AGAIN}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedResult(
            f"{folder / RESULT_FILE}: no list of objects in it; {_AGAIN}"
        ) from error
    there = (name for name in files if name in digests or name not in _MAY_LACK)
    return tuple(_checked(folder / name, digests.get(name)) for name in there)


_MAY_LACK: Final = PICTURES | FOLLOWUP_PICTURES
_GONE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Errors of a file that stay; a disk that cannot be read just now raises others."""

_AGAIN: Final = "`lumbar-node retry UID --force` makes the result again"


def _checked(path: Path, digest: str | None) -> ResultFile:
    if digest is None:
        raise DamagedResult(f"{path}: not in the list of {RESULT_FILE}; {_AGAIN}")
    try:
        file = read_result_file(path)
    except _GONE as error:
        raise DamagedResult(f"{path}: {error.strerror}; {_AGAIN}") from error
    if file.sha256 != digest:
        raise DamagedResult(f"{path}: not the bytes that were written, by its digest; {_AGAIN}")
    return file


def read_result_file(path: Path) -> ResultFile:
    """Read one file; a file that is not a DICOM object has no UIDs."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix != ".dcm":
        return ResultFile(path, digest)
    try:
        ds = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(_UIDS))
        sop_class, sop_instance, study, series = (str(ds[keyword].value) for keyword in _UIDS)
        syntax = str(ds.file_meta.TransferSyntaxUID)
    except Exception:  # noqa: BLE001 - damaged bytes make pydicom raise anything
        return ResultFile(path, digest)
    return ResultFile(path, digest, sop_class, sop_instance, study, series, syntax)


def all_alike(
    files: Sequence[ResultFile],
    disposition: Disposition,
    text: str,
    status: str = "",
    wait_s: float = 0.0,
) -> tuple[Outcome, ...]:
    """Give every file the same outcome, as when nothing could be sent."""
    return tuple(Outcome(p.name, disposition, text, status, wait_s) for p in files)
