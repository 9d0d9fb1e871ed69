"""From the results of cases to rows: scores per structure, agreement per measurement, by group of cases.

Cases are grouped by source; those that the model may have been trained on form groups of their own, so
that a mean is never of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any, Final, Literal, get_args

from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.structures import STRUCTURES, StructureId
from training.evaluate.agreement import MeasurementAgreement, agreement
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.metrics import Score
from training.evaluate.paper_values import SHARE_ABOVE
from training.evaluate.parts import Part

ALL: Final = "all"
"""Row of the mean over a case's structures."""
SEEN: Final = ", perhaps trained on"
LEVEL_LIMIT_MM: Final = 8.0
"""A level farther than this from the true one counts as wrong."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Mean, median, standard deviation (n − 1; None for one value), least and most of n values."""

    n: int
    mean: float
    median: float
    sd: float | None
    least: float
    most: float


def distribution(values: Sequence[float]) -> Distribution | None:
    """Describe some values; None for none."""
    if not values:
        return None
    sd = stdev(values) if len(values) > 1 else None
    return Distribution(len(values), fmean(values), median(values), sd, min(values), max(values))


@dataclass(frozen=True, slots=True)
class StructureRow:
    """One structure in one group of cases; `structure` "all" is the mean over each case's structures, another name a
    part of a structure (`training.evaluate.parts.Part`), which counts in no mean.

    missed, invented: cases in which only the reference, or only the prediction, has the structure. Both
    count as Dice 0. Distances are over the other cases. above: share of cases with a higher Dice.
    baselines: mean Dice of each.
    """

    structure: StructureId | Literal["all"] | Part
    dice: Distribution
    precision: float
    recall: float | None
    hd95_mm: Distribution | None
    assd_mm: Distribution | None
    missed: int
    invented: int
    above: Mapping[str, float]
    baselines: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MeasurementRow:
    """One measurement in one group. refused: cases with a reference and no automatic value, by code.

    without_reference: cases in which the reference has no value; automatic values there do not count. covered: of the
    `agreement.n` pairs, those whose reference lies within twice the value's own uncertainty, or inside its range;
    ranges: those with a range.
    """

    name: MeasurementName
    agreement: MeasurementAgreement | None
    refused: Mapping[str, int]
    without_reference: int
    reference_from: Mapping[str, int]
    covered: int
    ranges: int


@dataclass(frozen=True, slots=True)
class LevelRow:
    """How the level was found: cases, found, within `LEVEL_LIMIT_MM`, and the errors in mm."""

    cases: int
    found: int
    near: int
    error_mm: Distribution | None


@dataclass(frozen=True, slots=True)
class Group:
    """One group of cases: its rows by structure and measurement."""

    name: str
    cases: int
    level: LevelRow
    structures: tuple[StructureRow, ...]
    measurements: tuple[MeasurementRow, ...]


def group_name(case: CaseResult) -> str:
    """Return the group a case belongs to."""
    return case.source + ("" if case.unseen else SEEN)


def groups(cases: Sequence[CaseResult]) -> list[Group]:
    """Summarise each group, and the phantoms with physical and with randomised contrast."""
    out = []
    for name in sorted({group_name(c) for c in cases}):
        inside = [c for c in cases if group_name(c) == name]
        out.append(group(name, inside))
        contrasts = sorted({c.contrast for c in inside if c.contrast})
        if len(contrasts) > 1:
            out += [
                group(f"{name}, {kind} contrast", [c for c in inside if c.contrast == kind])
                for kind in contrasts
            ]
    return out


def group(name: str, cases: Sequence[CaseResult]) -> Group:
    """Summarise some cases."""
    rows = [_structure(s.id, cases) for s in STRUCTURES]
    rows += [_part(name, cases) for name in get_args(Part)]
    present = tuple(r for r in (*rows, _over_all(cases)) if r is not None)
    lines = tuple(_measurement(n, cases) for n in MAIN_MEASUREMENTS)
    filled = tuple(r for r in lines if r.agreement or r.refused or r.without_reference)
    return Group(name, len(cases), _level(cases), present, filled)


def _level(cases: Sequence[CaseResult]) -> LevelRow:
    errors = [c.level_error_mm for c in cases if c.level_error_mm is not None]
    near = sum(e <= LEVEL_LIMIT_MM for e in errors)
    return LevelRow(len(cases), len(errors), near, distribution(errors))


def _above(values: Sequence[float]) -> dict[str, float]:
    return {f"{limit:.2f}": sum(v > limit for v in values) / len(values) for limit in SHARE_ABOVE}


def _structure(name: StructureId, cases: Sequence[CaseResult]) -> StructureRow | None:
    scores = [c.scores[name] for c in cases if name in c.scores]
    return _row(
        name, scores, _baselines(cases, lambda dices: [dices[name]] if name in dices else [])
    )


def _part(name: Part, cases: Sequence[CaseResult]) -> StructureRow | None:
    return _row(name, [c.parts[name] for c in cases if name in c.parts], {})


def _row(
    name: StructureId | Part, scores: Sequence[Score], baselines: Mapping[str, float]
) -> StructureRow | None:
    values = [s.dice for s in scores]
    dice = distribution(values)
    if dice is None:
        return None
    recall = [s.recall for s in scores if s.recall is not None]
    return StructureRow(
        name,
        dice,
        fmean(s.precision for s in scores),
        fmean(recall) if recall else None,
        distribution([s.hd95_mm for s in scores if s.hd95_mm is not None]),
        distribution([s.assd_mm for s in scores if s.assd_mm is not None]),
        sum(s.state == "missed" for s in scores),
        sum(s.state == "invented" for s in scores),
        _above(values),
        baselines,
    )


def _baselines(cases: Sequence[CaseResult], pick: Any) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for case in cases:
        for baseline, dices in case.baselines.items():
            values.setdefault(baseline, []).extend(pick(dices))
    return {k: fmean(v) for k, v in values.items() if v}


def _over_all(cases: Sequence[CaseResult]) -> StructureRow | None:
    """Return the row of the means over each case's structures."""
    rows = [list(c.scores.values()) for c in cases if c.scores]
    values = [fmean(s.dice for s in row) for row in rows]
    dice = distribution(values)
    if dice is None:
        return None
    recall = [r for row in rows if (r := [s.recall for s in row if s.recall is not None])]
    hd95 = [r for row in rows if (r := [s.hd95_mm for s in row if s.hd95_mm is not None])]
    assd = [r for row in rows if (r := [s.assd_mm for s in row if s.assd_mm is not None])]
    return StructureRow(
        ALL,
        dice,
        fmean(fmean(s.precision for s in row) for row in rows),
        fmean(fmean(r) for r in recall) if recall else None,
        distribution([fmean(r) for r in hd95]),
        distribution([fmean(r) for r in assd]),
        sum(s.state == "missed" for row in rows for s in row),
        sum(s.state == "invented" for row in rows for s in row),
        _above(values),
        _baselines(cases, lambda dices: [fmean(dices.values())] if dices else []),
    )


def _measurement(name: MeasurementName, cases: Sequence[CaseResult]) -> MeasurementRow:
    pairs = [c.measurements[name] for c in cases if name in c.measurements]
    known = [p for p in pairs if p.reference_mm is not None]
    paired = [p for p in known if p.automatic_mm is not None]
    return MeasurementRow(
        name,
        _agreement(paired),
        dict(sorted(Counter(p.refusal for p in known if p.automatic_mm is None).items())),
        len(pairs) - len(known),
        dict(sorted(Counter(p.reference_from for p in known).items())),
        sum(_covered(p) for p in paired),
        sum(p.range_mm is not None for p in paired),
    )


def _agreement(pairs: Sequence[MeasuredPair]) -> MeasurementAgreement | None:
    values = [
        (p.automatic_mm, p.reference_mm)
        for p in pairs
        if p.automatic_mm is not None and p.reference_mm is not None
    ]
    return agreement([a for a, _ in values], [r for _, r in values])


def _covered(pair: MeasuredPair) -> bool:
    """Return whether the reference lies inside the value's range, or within twice its uncertainty."""
    value, reference = pair.automatic_mm, pair.reference_mm
    if value is None or reference is None:
        return False
    if pair.range_mm is not None:
        return pair.range_mm[0] <= reference <= pair.range_mm[1]
    return pair.uncertainty_mm is not None and abs(value - reference) <= 2 * pair.uncertainty_mm
