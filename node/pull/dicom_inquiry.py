"""C-FIND of the study root over one association (PS3.4 C.4.1): studies, series, objects; answers are untrusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from node.deliver.dicom_query import build_query, find
from node.deliver.port import QueryUnanswered, QueryUnsupported
from node.pull.choose import is_uid
from node.pull.guard import Guard
from node.pull.port import (
    MOST_INSTANCES,
    MOST_SERIES,
    MOST_STUDIES,
    FoundInstance,
    FoundSeries,
    FoundStudy,
    SourceFault,
)


@dataclass(frozen=True, slots=True)
class DicomInquiry:
    """C-FIND over one association. A match that was not asked for is left out."""

    peer: Association
    address: str
    guard: Guard

    def studies(self, first: date, last: date) -> list[FoundStudy]:
        """Return the studies of these study dates."""
        dates = f"{first:%Y%m%d}-{last:%Y%m%d}"
        query = build_query("STUDY", StudyDate=dates, StudyInstanceUID="", ModalitiesInStudy="")
        found = [
            FoundStudy(_text(m, "StudyInstanceUID"), _texts(m, "ModalitiesInStudy"))
            for m in self._find(query, MOST_STUDIES)
        ]
        return [s for s in found if is_uid(s.study)]

    def series(self, study: str) -> list[FoundSeries]:
        """Return the series of a study."""
        keys = dict.fromkeys(
            ("SeriesInstanceUID", "Modality", "SeriesDescription", "ProtocolName", "BodyPartExamined"),
            "",
        )  # fmt: skip
        query = build_query("SERIES", StudyInstanceUID=study, **keys)
        found = [
            FoundSeries(
                _text(m, "SeriesInstanceUID"), _text(m, "Modality"), _text(m, "SeriesDescription"),
                _text(m, "ProtocolName"), _text(m, "BodyPartExamined"),
            )
            for m in self._find(query, MOST_SERIES)
            if _text(m, "StudyInstanceUID") in {"", study}
        ]  # fmt: skip
        return [s for s in found if is_uid(s.series)]

    def instances(self, study: str, series: str) -> list[FoundInstance]:
        """Return the objects of a series."""
        query = build_query(
            "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="", SOPClassUID=""
        )  # fmt: skip
        found = [
            FoundInstance(_text(m, "SOPInstanceUID"), _text(m, "SOPClassUID"))
            for m in self._find(query, MOST_INSTANCES)
            if _text(m, "SeriesInstanceUID") in {"", series}
            and _text(m, "StudyInstanceUID") in {"", study}
        ]
        return [i for i in found if is_uid(i.sop_instance)]

    def _find(self, query: Dataset, most: int) -> list[Dataset]:
        try:
            return find(self.peer, query, most)
        except (QueryUnsupported, QueryUnanswered) as error:
            self.peer.abort()  # it may still be sending
            raise SourceFault(f"{self.address} {self.guard.reason or error}") from error


def _texts(match: Dataset, keyword: str) -> tuple[str, ...]:
    """Values of an element that a stranger sent, () where there are none that can be read."""
    try:
        value = match.get(keyword)
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return tuple(str(v).strip() for v in values if v not in (None, ""))
    except Exception:  # noqa: BLE001 - pydicom raises anything at broken values
        return ()


def _text(match: Dataset, keyword: str) -> str:
    return next(iter(_texts(match, keyword)), "")
