"""`verified.dcm`: the report of measurements as a named person confirmed it (PS3.3 C.17.2).

The content is that of the unverified report, byte by byte; who verified, when, for which organisation, and which
document it replaces are new. Same result, person, moment and organisation: same UIDs and bytes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicomseg.encode.context import to_bytes
from dicomseg.encode.uids import make_uid
from dicomseg.read.charset import ascii_text

SERIES_NUMBER: Final = 9010
_MEASUREMENTS: Final = 9003
_ASCII: Final = "ISO_IR 6"
_NAME_SIGNS: Final = re.compile(r"[\\^=\x00-\x1f\x7f]")
_LONGEST: Final = 64
"""Characters of a component group of PN, and of LO (PS3.5 table 6.2-1)."""
_DESCRIPTION: Final = re.compile(r"(L4/5 \d\d:\d\d:\d\d )measurements\b(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Verification:
    """Who confirmed a result. by: name of the login. organization: not empty. at: aware."""

    result_id: str
    by: str
    organization: str
    at: datetime

    @property
    def name(self) -> str:
        """Identity of the document, by which its folder is named; every UID of it follows from that."""
        return make_uid("verified", *self._parts).removeprefix("2.25.")

    def uid(self, role: str) -> str:
        """Return the UID of one role: `series` or `instance`."""
        return make_uid("verified", *self._parts, role)

    @property
    def _parts(self) -> tuple[str, ...]:
        return (self.result_id, self.by, self.organization, self.at.astimezone(UTC).isoformat())


def person_name(login: str) -> str:
    """Return a login as PN: a family name and an empty given one; signs that would divide or end it are replaced."""
    name = _NAME_SIGNS.sub("_", ascii_text(login)).strip()[: _LONGEST - 1]
    # Without a sign between components a validator takes it for the name form of ACR-NEMA.
    return f"{name}^" if name else ""


def encode(report: Dataset, verification: Verification) -> bytes:
    """Return the verified report as a DICOM file. report: `measurements.dcm`, which is changed.

    Raises:
        ValueError: it is no complete, unverified report, or no organisation is given.
    """
    flags = (str(report.get("CompletionFlag", "")), str(report.get("VerificationFlag", "")))
    if report.get("Modality") != "SR" or flags != ("COMPLETE", "UNVERIFIED"):
        raise ValueError("not a complete, unverified report")
    at = _local(report, verification.at)
    report.PredecessorDocumentsSequence = [_predecessor(report)]
    report.VerificationFlag, report.PreliminaryFlag = "VERIFIED", "FINAL"
    report.VerifyingObserverSequence = [_observer(report, verification, at)]
    # Series Date and Time stay those of the result: viewers find by them what belongs to it.
    report.InstanceCreationDate = report.ContentDate = at.strftime("%Y%m%d")
    report.InstanceCreationTime = report.ContentTime = at.strftime("%H%M%S.%f")
    report.SeriesInstanceUID = verification.uid("series")
    report.SOPInstanceUID = verification.uid("instance")
    report.file_meta.MediaStorageSOPInstanceUID = UID(report.SOPInstanceUID)
    report.SeriesNumber = int(report.SeriesNumber) + SERIES_NUMBER - _MEASUREMENTS
    described = _DESCRIPTION.fullmatch(str(report.get("SeriesDescription", "")))
    if described is not None:
        report.SeriesDescription = f"{described[1]}verified{described[2]}"
    return to_bytes(report)


def _observer(report: Dataset, verification: Verification, at: datetime) -> Dataset:
    organization = _writable(report, verification.organization.strip())[:_LONGEST]
    name = person_name(verification.by)
    if not organization or not name:
        raise ValueError("a verifying observer needs a name and an organisation")
    item = Dataset()
    item.VerifyingObserverName = name
    item.VerifyingObserverIdentificationCodeSequence = []
    item.VerifyingOrganization = organization
    item.VerificationDateTime = at.strftime("%Y%m%d%H%M%S.%f")
    return item


def _predecessor(report: Dataset) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = report.SOPClassUID
    instance.ReferencedSOPInstanceUID = report.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = report.SeriesInstanceUID, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = report.StudyInstanceUID, [series]
    return study


def _local(report: Dataset, at: datetime) -> datetime:
    """Return the moment in the time zone of the report's dates."""
    offset = str(report.get("TimezoneOffsetFromUTC", ""))
    if not re.fullmatch(r"[+-]\d{4}", offset):
        return at
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return at.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))


def _writable(report: Dataset, text: str) -> str:
    """Return a text that the report's character set has; in ASCII where it lacks a sign of it."""
    given = report.get("SpecificCharacterSet") or _ASCII
    term = str(given if isinstance(given, str) else given[0])
    try:
        text.encode(python_encoding.get(term, "ascii"))
    except UnicodeEncodeError:
        plain = unicodedata.normalize("NFKD", text)
        return ascii_text("".join(c for c in plain if not unicodedata.combining(c)))
    return text
