"""Whose results are whose: the results that count by patient, read from headers, since the journal holds no patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from node.journal.journal import Journal
from node.journal.results import CurrentResult
from node.observe.followup import MAX_SEARCHED, FollowUp, follow, read_visit
from node.observe.identity import Examined, Patient

Read = Callable[[Path], Examined]
"""Reads patient and examination from a stored object."""


def results_by_patient(journal: Journal, read: Read) -> dict[Patient, list[CurrentResult]]:
    """Return the newest results that count by their patient; none whose header identifies no patient."""
    found: dict[Patient, list[CurrentResult]] = {}
    for current in journal.results.current(MAX_SEARCHED):
        patient = None if current.file is None else read(current.file).patient
        if patient is not None:
            found.setdefault(patient, []).append(current)
    return found


def follow_results(results: Iterable[CurrentResult], read: Read) -> FollowUp:
    """Return the follow-up of one patient's results; one that cannot be read is left out."""
    visits = (read_visit(c, read(c.file)) for c in results if c.file is not None)
    return follow(v for v in visits if v is not None)
