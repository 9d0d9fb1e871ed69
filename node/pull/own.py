"""Which series of a study are the node's own results: their UIDs follow from the result (`dicomseg.encode.uids`)."""

from __future__ import annotations

from typing import Final

from dicomseg.encode.uids import ResultKey
from node.journal.journal import Journal

_ROLES: Final = ("seg", "midplane", "measurements", "volumes", "summary", "report", "surface", "rejection",
          "followup", "followup_page", "followup_report")  # fmt: skip
_FORMED: Final = ("seg", "volumes")
_FORMS: Final = ("binary", "fractional", "labelmap")
"""Forms of the segmentation that are made at sending, with series of their own."""
ROLES: Final = (*_ROLES, *(f"{role}.{form}" for role in _FORMED for form in _FORMS))


def own_series(journal: Journal, study: str) -> frozenset[str]:
    """Return the Series Instance UIDs of every result that the journal has of a study."""
    results = [
        result.result_id
        for row in journal.series.of_study(study)
        for result in journal.results.all_of_series(row.key)
    ]
    return frozenset(ResultKey(r).uid(f"{role}.series") for r in results for role in ROLES)
