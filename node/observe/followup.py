"""`followup`: one patient's results over the studies that are here, and what changed from one to the next.

Earlier studies are no input of a result, which stays the same whatever else is here: this is only shown (ADR 0051).
The journal holds no patient; identities are read from the headers of stored objects on request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from typing import Final

from dicomseg.compare.change import (
    Change,
    Reading,
    compare,
    level_of,
    mapping,
    number,
    numbers,
    readings,
)
from node.errors import UnknownUid
from node.journal.journal import Journal
from node.journal.results import CurrentResult
from node.observe.identity import Examined, Patient, read_examined
from node.store.results import read_result

HALF_A_LEVEL_MM: Final = 15.0
"""Lumbar discs lie 30 to 40 mm apart; a patient who moved between two acquisitions moved by less than half of it."""
_MODEL: Final = ("name", "version", "digest", "engine", "precision")
MAX_SEARCHED: Final = 5000
"""Newest results whose headers are searched for a patient: about a second."""

LEFT_OUT: Final[Mapping[str, str]] = {
    "not_identified": "the header has no Patient ID or no birth date that can be relied on",
    "no_values": "its result.json cannot be read",
}
"""Why a study with the Patient ID that was asked for belongs to no follow-up."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the level lies: Frame of Reference UID and its centre, LPS in mm."""

    frame: str
    centre_mm: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """One study of a patient with the result that is compared.

    others: results of the study beside it. model: name, version, digest, engine and precision. voxel_mm: along the
    array axes.
    """

    study: str
    series: str
    result: str
    examined: Examined
    level: str
    doubtful: bool
    model: tuple[str, ...]
    voxel_mm: tuple[float, ...]
    values: Mapping[str, Reading]
    place: Place | None = None
    confidence: float = 0.0
    others: int = 0

    @property
    def when(self) -> str:
        """Date of the acquisition as YYYY-MM-DD, "" where it is unknown."""
        day = _day(self.examined.date)
        return "" if day is None else day.isoformat()


@dataclass(frozen=True, slots=True)
class Step:
    """From one study to another: days between them, None where a date is unknown; notes: codes of `dicomseg.compare.comparison.NOTES`."""

    before: Visit
    after: Visit
    days: int | None
    notes: tuple[str, ...]
    changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The studies of one patient, oldest first, and the steps from each to the next; from first to last if there are more."""

    visits: tuple[Visit, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a question found: one follow-up for each patient.

    left_out: study and code of `LEFT_OUT`. truncated: older results were not searched.
    """

    followups: tuple[FollowUp, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    truncated: bool = False


@dataclass(slots=True)
class _Gathered:
    """Results by patient, while they are read."""

    visits: dict[Patient, list[Visit]] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def add(self, current: CurrentResult, examined: Examined) -> None:
        visit = read_visit(current, examined)
        if examined.patient is None or visit is None:
            why = "not_identified" if examined.patient is None else "no_values"
            self.left_out.append((current.key.study, why))
        else:
            self.visits.setdefault(examined.patient, []).append(visit)


def find_followups(journal: Journal, text: str) -> Found:
    """Return the follow-up of a patient, by Patient ID or by the Study Instance UID of one study.

    Results of one patient are those with equal Patient ID, Issuer of Patient ID, birth date and sex; two patients
    with one ID are two follow-ups.

    Raises:
        UnknownUid: no result that counts is of this study or patient.
    """
    asked = journal.results.current(MAX_SEARCHED, study=text)
    own = [_examined(current) for current in asked]
    wanted = {e.patient for e in own if e.patient is not None}
    found = _Gathered()
    newest = journal.results.current(MAX_SEARCHED)
    every = {c.result.result_id: c for c in (*newest, *asked)}
    for current in every.values() if wanted or not asked else asked:
        examined = _examined(current)
        named = bool(examined.patient_id) and examined.patient_id == text
        if (examined.patient in wanted) if wanted else (named or current.key.study == text):
            found.add(current, examined)
    if not found.visits and not found.left_out:
        raise UnknownUid(
            "no result of this patient or study is here; `lumbar-node list` shows what is, and"
            " what [retention] removed is not compared"
        )
    followups = tuple(follow(visits) for visits in found.visits.values())
    return Found(followups, tuple(found.left_out), len(newest) == MAX_SEARCHED)


def _examined(current: CurrentResult) -> Examined:
    if current.file is None:
        return Examined(None, "", "", "", "", ("", "", ""))
    return read_examined(current.file)


def read_visit(current: CurrentResult, examined: Examined) -> Visit | None:
    """Read one result; None where its `result.json` is missing or damaged."""
    content = read_result(current.result.folder)
    values = readings(content)
    if not values:
        return None
    level, doubtful = level_of(content)
    model, source = mapping(content.get("model")), mapping(content.get("source"))
    found = mapping(content.get("level"))
    frame, centre = source.get("frame_of_reference"), numbers(found.get("centre_mm"))
    return Visit(
        current.key.study,
        current.key.series,
        current.result.result_id,
        examined,
        level,
        doubtful,
        tuple(str(model.get(name, "")) for name in _MODEL),
        numbers(source.get("spacing_mm")),
        values,
        Place(str(frame), centre) if frame and len(centre) == 3 else None,
        number(found.get("confidence")) or 0.0,
    )


def follow(visits: Iterable[Visit]) -> FollowUp:
    """Compare the studies of one patient, each by one of its results, in the order of their acquisition."""
    by_study: dict[str, list[Visit]] = {}
    for visit in visits:
        by_study.setdefault(visit.study, []).append(visit)
    chosen = sorted((_chosen(of_one) for of_one in by_study.values()), key=_order)
    pairs = list(pairwise(chosen))
    if len(chosen) > 2:
        pairs.append((chosen[0], chosen[-1]))
    return FollowUp(tuple(chosen), tuple(step(before, after) for before, after in pairs))


def _chosen(visits: Sequence[Visit]) -> Visit:
    """Take the result of a study with most values, then with the surest level, then by its UID, and count the others."""
    best = min(visits, key=lambda v: (-_given(v), -v.confidence, v.series))
    return replace(best, others=len(visits) - 1)


def _given(visit: Visit) -> int:
    return sum(reading.value is not None for reading in visit.values.values())


def _order(visit: Visit) -> tuple[str, str, str]:
    return (visit.when, visit.examined.time, visit.study)


def step(before: Visit, after: Visit) -> Step:
    """Compare two studies value by value, main values first."""
    first, last = _day(before.examined.date), _day(after.examined.date)
    days = None if first is None or last is None else (last - first).days
    return Step(before, after, days, tuple(_notes(before, after)), dict(_changes(before, after)))


def _changes(before: Visit, after: Visit) -> Iterator[tuple[str, Change]]:
    reason = "other_level" if before.level != after.level or _lie_apart(before, after) else ""
    if has_same_images(before, after):
        reason = "same_images"
    doubtful = before.doubtful or after.doubtful
    for name in dict.fromkeys([*after.values, *before.values]):
        if reason:
            yield name, Change(reason=reason)
        else:
            earlier, later = before.values.get(name), after.values.get(name)
            yield name, compare(earlier, later, doubtful=doubtful)


def _lie_apart(before: Visit, after: Visit) -> bool:
    """Whether the levels are two discs: only where both studies have one frame of reference."""
    one, other = before.place, after.place
    same = one is not None and other is not None and one.frame == other.frame
    return same and math.dist(one.centre_mm, other.centre_mm) > HALF_A_LEVEL_MM  # type: ignore[union-attr]


def has_same_images(before: Visit, after: Visit) -> bool:
    """Return whether two studies hold one acquisition, sent again under other UIDs: same scanner at the same second."""
    one, other = before.examined, after.examined
    known = bool(one.date and one.time)
    return known and (one.date, one.time, one.scanner) == (other.date, other.time, other.scanner)


def _notes(before: Visit, after: Visit) -> Iterator[str]:
    if before.examined.scanner != after.examined.scanner:
        yield "other_scanner"
    voxels = zip(before.voxel_mm, after.voxel_mm, strict=False)
    if any(abs(one - other) > 0.01 for one, other in voxels):
        yield "other_voxel"
    if before.model != after.model:
        yield "other_model"


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None
    except ValueError:
        return None
