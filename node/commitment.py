"""Storage commitment: the data sets of N-ACTION and N-EVENT-REPORT as values (PS3.4 annex J).

Pure. Both roles use it: what we ask of archives, and what others ask of us.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType
from typing import Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ImplicitVRLittleEndian

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP Instance (PS3.4 J.3.5)."""
REQUEST: Final = 1
"""Action Type ID of "request storage commitment"."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs of a report."""

PROCESSING_FAILURE, NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
CLASS_NOT_SUPPORTED, DUPLICATE_TRANSACTION, NO_RESOURCES = 0x0122, 0x0131, 0x0213
REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        PROCESSING_FAILURE: "processing failure",
        NO_SUCH_OBJECT: "no such object instance",
        CLASS_CONFLICT: "class and instance conflict",
        CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
        DUPLICATE_TRANSACTION: "duplicate transaction UID",
        NO_RESOURCES: "resource limitation",
    }
)
"""Failure Reasons (PS3.3 C.14.1.1)."""
_LONGEST_UID: Final = 64
_CLASS, _INSTANCE = 0x00081150, 0x00081155
_TRANSACTION, _REASON = 0x00081195, 0x00081197
_UID_CHARACTERS: Final = frozenset("0123456789.")


class Reference(NamedTuple):
    """A SOP class and instance."""

    sop_class: str
    sop_instance: str


class BadCommitment(ValueError):
    """A data set that is no request or report of storage commitment; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be kept."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a request came to. failed: Failure Reason by SOP Instance UID; an object in both has failed."""

    transaction_uid: str
    committed: tuple[str, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)


def new_transaction_uid() -> str:
    """Return a UID that no peer can guess (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def is_uid(text: str) -> bool:
    """Return whether a text is a UID (PS3.5 section 9.1), leading zeros forgiven."""
    inner = not text.startswith(".") and not text.endswith(".")
    return 0 < len(text) <= _LONGEST_UID and set(text) <= _UID_CHARACTERS and inner


def reason_words(reason: int) -> str:
    """Return a Failure Reason with its meaning: ``0x0112, no such object instance``."""
    words = REASONS.get(reason, "")
    return f"0x{reason:04X}" + (f", {words}" if words else "")


def request_data_set(request: Request) -> Dataset:
    """Return the Action Information of a request (PS3.4 table J.3.2-1)."""
    ds = Dataset()
    ds.TransactionUID = request.transaction_uid
    ds.ReferencedSOPSequence = DicomSequence(_item(*r) for r in request.references)
    return ds


def report_data_set(
    transaction_uid: str, references: Iterable[Reference], failed: Mapping[str, int]
) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of a report (PS3.4 table J.3.3-1).

    references: all that were asked for; those in `failed` carry their reason.
    """
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    every = tuple(references)
    kept = [_item(*r) for r in every if r.sop_instance not in failed]
    if kept:
        ds.ReferencedSOPSequence = DicomSequence(kept)
    if len(kept) == len(every):
        return ALL_COMMITTED, ds
    ds.FailedSOPSequence = DicomSequence(
        _item(*r, reason=failed[r.sop_instance]) for r in every if r.sop_instance in failed
    )
    return SOME_FAILED, ds


def read_request(ds: Dataset, most: int) -> Request:
    """Read the Action Information of a request. most: references. Raises `BadCommitment`."""
    return Request(_transaction(ds), tuple(_references(ds, "ReferencedSOPSequence", most)))


def read_report(ds: Dataset, most: int) -> Report:
    """Read the Event Information of a report. most: references of each kind. Raises `BadCommitment`."""
    committed = _references(ds, "ReferencedSOPSequence", most)
    failed = {
        _text(item, _INSTANCE): _reason(item) for item in _items(ds, "FailedSOPSequence", most)
    }
    kept = tuple(r.sop_instance for r in committed if r.sop_instance not in failed)
    return Report(_transaction(ds), kept, failed)


def _transaction(ds: Dataset) -> str:
    uid = _text(ds, _TRANSACTION)
    if not is_uid(uid):
        raise BadCommitment("no valid Transaction UID")
    return uid


def _items(ds: Dataset, keyword: str, most: int) -> Sequence[Dataset]:
    items = ds.get(keyword) or ()
    if not isinstance(items, DicomSequence):
        return ()
    if len(items) > most:
        raise BadCommitment(f"more than {most} references")
    return items


def _references(ds: Dataset, keyword: str, most: int) -> list[Reference]:
    found = [
        Reference(_text(item, _CLASS), _text(item, _INSTANCE)) for item in _items(ds, keyword, most)
    ]
    if not all(is_uid(uid) for reference in found for uid in reference):
        raise BadCommitment("a reference without valid UIDs")
    return found


def _reason(item: Dataset) -> int:
    value = _raw(item, _REASON)
    if isinstance(value, bytes) and len(value) == 2:
        return int.from_bytes(value, "little")
    return value if isinstance(value, int) else PROCESSING_FAILURE


def _text(ds: Dataset, tag: int) -> str:
    """Value of a UID as it came, "" for none: pydicom would check it first, and complain of each."""
    value = _raw(ds, tag)
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    return "" if value is None else str(value)


def _raw(ds: Dataset, tag: int) -> object:
    return ds.get_item(tag).value if tag in ds else None


def _item(sop_class: str, sop_instance: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = sop_instance
    if reason is not None:
        item.FailureReason = reason
    return item


def encoded(ds: Dataset, transfer_syntax: str) -> bytes:
    """Return a data set in one of the two native little endian transfer syntaxes."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    write_dataset(buffer, ds)
    return buffer.getvalue()


def decoded(raw: bytes, transfer_syntax: str) -> Dataset:
    """Read a data set in one of the two native little endian transfer syntaxes; a broken one raises anything."""
    return read_dataset(BytesIO(raw), transfer_syntax == ImplicitVRLittleEndian, True)
