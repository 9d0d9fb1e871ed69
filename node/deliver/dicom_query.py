"""C-FIND: whether a peer holds an object, and how many of a series (PS3.4 C.6.2.1)."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from node.deliver.port import (
    QueryUnanswered,
    QueryUnsupported,
    ResultFile,
)
from node.deliver.status import SUCCESS

NO_SUCH_CLASS: Final = 0x0122
"""SOP Class not supported: the peer says for good that it does not answer this."""


MOST_MATCHES: Final = 100_000
"""Matches of one query that are held; a peer that sends more is not believed."""

FIND: Final = StudyRootQueryRetrieveInformationModelFind


_PENDING: Final = frozenset({0xFF00, 0xFF01})


def build_query(level: str, **keys: str) -> Dataset:
    """Return the identifier of a C-FIND, C-MOVE or C-GET request; "" asks for a value."""
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def find(peer: Association, query: Dataset, most: int = MOST_MATCHES) -> list[Dataset]:
    """Return all matches of a query that ended well. Raises `QueryUnsupported` and `QueryUnanswered`."""
    matches: list[Dataset] = []
    if not peer.is_established:
        raise QueryUnanswered("ended the association during the query")
    for answer, identifier in peer.send_c_find(query, FIND):
        if "Status" not in answer:
            raise QueryUnanswered("does not answer C-FIND in time")
        status = int(answer.Status)
        if status in _PENDING:
            if identifier is None:
                raise QueryUnanswered("answers C-FIND with an identifier that cannot be read")
            matches.append(identifier)
            if len(matches) > most:
                raise QueryUnanswered(f"answers C-FIND with more than {most} matches")
        elif status == NO_SUCH_CLASS:
            raise QueryUnsupported(f"answers C-FIND with 0x{status:04X}, SOP class not supported")
        elif status != SUCCESS:
            raise QueryUnanswered(f"answers C-FIND with 0x{status:04X}")
        else:
            return matches
    raise QueryUnanswered("does not end its answer to C-FIND")


def is_held(peer: Association, file: ResultFile) -> bool:
    """Return whether the peer finds the object of a file. Raises as `find`."""
    query = build_query(
        "IMAGE",
        StudyInstanceUID=file.study,
        SeriesInstanceUID=file.series,
        SOPInstanceUID=file.sop_instance,
    )
    named = [str(match.get("SOPInstanceUID", "")) for match in find(peer, query)]
    if named and not any(named):
        raise QueryUnanswered("answers C-FIND without naming an object")
    return file.sop_instance in named


def related_instances(peer: Association, study: str, series: str) -> int | None:
    """Return Number of Series Related Instances (PS3.4 C.3.4), 0 for an unknown series, None where it is not given."""
    query = build_query(
        "SERIES",
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        NumberOfSeriesRelatedInstances="",
    )
    matches = find(peer, query)
    if not matches:
        return 0
    named = [f for f in matches if str(f.get("SeriesInstanceUID", "")) == series]
    counts = [str(f.get("NumberOfSeriesRelatedInstances", "")) for f in named]
    return next((int(t) for t in counts if t.strip().isdigit()), None)


def count_images(peer: Association, study: str, series: str) -> int:
    """Return the number of objects of a series at IMAGE level. Raises as `find`."""
    query = build_query(
        "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=""
    )
    return len({str(f.get("SOPInstanceUID", "")) for f in find(peer, query)} - {""})
