"""Which follow-ups are wanted: patients with results of several studies, by the headers of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.compare.comparison import ComparedStep, ComparedStudy, Comparison
from node.journal.journal import Journal
from node.journal.results import CurrentResult
from node.observe.followup import (
    MAX_SEARCHED,
    Visit,
    follow,
    has_same_images,
    read_visit,
    step,
)
from node.observe.identity import Examined, Patient, read_examined

MOST_STUDIES: Final = 12
"""Studies of one report: the first, and the newest ones."""


@dataclass(slots=True)
class Patients:
    """Results that count, by patient; headers that were read are remembered, for a file of the spool never changes."""

    journal: Journal
    _headers: dict[Path, Examined] = field(default_factory=dict)

    def read(self) -> Mapping[Patient, Sequence[CurrentResult]]:
        """Return the results of every patient that has some of more than one study.

        A study that holds results of two patients is of none: one of both headers is wrong.
        """
        found = [
            (c, c.file) for c in self.journal.results.current(MAX_SEARCHED) if c.file is not None
        ]
        self._headers = {file: self._header(file) for _, file in found}
        patients: dict[Patient, list[CurrentResult]] = {}
        whose: dict[str, set[Patient | None]] = {}
        for current, file in found:
            patient = self._headers[file].patient
            whose.setdefault(current.key.study, set()).add(patient)
            if patient is not None:
                patients.setdefault(patient, []).append(current)
        kept = {
            patient: [c for c in results if len(whose[c.key.study]) == 1]
            for patient, results in patients.items()
        }
        return {p: r for p, r in kept.items() if len({c.key.study for c in r}) > 1}

    def examined(self, current: CurrentResult) -> Examined:
        """Return the header of a result that `read` returned."""
        if current.file is None:
            raise AssertionError("a result without images is of no patient")
        return self._header(current.file)

    def _header(self, file: Path) -> Examined:
        return self._headers.get(file) or read_examined(file)


def compared(
    results: Sequence[CurrentResult], examined: Sequence[Examined]
) -> tuple[CurrentResult, ...]:
    """Choose the results of one patient that a report compares, oldest first; () where there is nothing to compare.

    One of each study, as `lumbar-node followup` chooses. Studies without a date are left out, and an earlier one with
    the images of the newest.
    """
    read = [read_visit(c, e) for c, e in zip(results, examined, strict=True)]
    by_result = {c.result.result_id: c for c in results}
    visits = [v for v in follow(v for v in read if v is not None).visits if v.when]
    if not visits:
        return ()
    *earlier, newest = visits
    earlier = [v for v in earlier if not has_same_images(v, newest)]
    chosen = [*earlier[:1], *earlier[1:][-(MOST_STUDIES - 2) :], newest]
    return tuple(by_result[v.result] for v in chosen) if earlier else ()


def compare_visits(visits: Sequence[Visit]) -> Comparison:
    """Compare studies in their order: the newest with that before it and, of more than two, with the first."""
    last = len(visits) - 1
    pairs = dict.fromkeys((last - 1, 0))
    steps = []
    for before in pairs:
        found = step(visits[before], visits[last])
        steps.append(ComparedStep(before, found.days or 0, found.notes, found.changes))
    return Comparison(tuple(map(_study, visits)), tuple(steps))


def _study(visit: Visit) -> ComparedStudy:
    scanner = " ".join(text for text in visit.examined.scanner if text) or "scanner unknown"
    return ComparedStudy(
        visit.study,
        visit.series,
        visit.result,
        visit.when,
        scanner,
        " ".join(visit.model[:2]),
        visit.level,
        visit.values,
    )
