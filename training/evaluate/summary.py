"""From the figures of cases to tables: Dice and its neighbours per structure, agreement per measurement.

Cases are grouped by source; those that the model may have been trained on form groups of their own, so
that a mean is never of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev
from typing import Any, Final, Literal

from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.structures import STRUCTURES, StructureId
from model.bundle.load import LoadedModel
from training.evaluate import paper_values as report_paper
from training.evaluate.agreement import Agreement, agreement
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.model_uncertainty import card_values, model_errors

SCHEMA: Final = 1
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
    """One structure in one group of cases; `structure` "all" is the mean over each case's structures.

    missed, invented: cases in which only the reference, or only the answer, has the structure. Both
    count as Dice 0. Distances are over the other cases. above: share of cases with a higher Dice.
    baselines: mean Dice of each.
    """

    structure: StructureId | Literal["all"]
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
    agreement: Agreement | None
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
    """Tables of one group of cases."""

    name: str
    cases: int
    level: LevelRow
    structures: tuple[StructureRow, ...]
    measurements: tuple[MeasurementRow, ...]


def group_name(case: CaseResult) -> str:
    """Return the group a case belongs to."""
    return case.source + ("" if case.unseen else SEEN)


def groups(cases: Sequence[CaseResult]) -> list[Group]:
    """Tables of each group, and of the phantoms with physical and with randomised contrast."""
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
    """Tables of some cases."""
    rows = [_structure(s.id, cases) for s in STRUCTURES]
    present = tuple(r for r in (*rows, _over_all(cases)) if r is not None)
    lines = tuple(_measurement(n, cases) for n in MAIN_MEASUREMENTS)
    told = tuple(r for r in lines if r.agreement or r.refused or r.without_reference)
    return Group(name, len(cases), _level(cases), present, told)


def _level(cases: Sequence[CaseResult]) -> LevelRow:
    errors = [c.level_error_mm for c in cases if c.level_error_mm is not None]
    near = sum(e <= LEVEL_LIMIT_MM for e in errors)
    return LevelRow(len(cases), len(errors), near, distribution(errors))


def _above(values: Sequence[float]) -> dict[str, float]:
    return {
        f"{limit:.2f}": sum(v > limit for v in values) / len(values)
        for limit in report_paper.SHARE_ABOVE
    }


def _structure(name: StructureId, cases: Sequence[CaseResult]) -> StructureRow | None:
    scores = [c.scores[name] for c in cases if name in c.scores]
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
        _baselines(cases, lambda dices: [dices[name]] if name in dices else []),
    )


def _baselines(cases: Sequence[CaseResult], pick: Any) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for case in cases:
        for baseline, dices in case.baselines.items():
            found.setdefault(baseline, []).extend(pick(dices))
    return {k: fmean(v) for k, v in found.items() if v}


def _over_all(cases: Sequence[CaseResult]) -> StructureRow | None:
    """Row of the means over each case's structures."""
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
    both = [p for p in known if p.automatic_mm is not None]
    return MeasurementRow(
        name,
        _agreement(both),
        dict(sorted(Counter(p.refusal for p in known if p.automatic_mm is None).items())),
        len(pairs) - len(known),
        dict(sorted(Counter(p.reference_from for p in known).items())),
        sum(_covered(p) for p in both),
        sum(p.range_mm is not None for p in both),
    )


def _agreement(pairs: Sequence[MeasuredPair]) -> Agreement | None:
    both = [
        (p.automatic_mm, p.reference_mm)
        for p in pairs
        if p.automatic_mm is not None and p.reference_mm is not None
    ]
    return agreement([a for a, _ in both], [r for _, r in both])


def _covered(pair: MeasuredPair) -> bool:
    """Whether the reference lies inside the value's range, or within twice its uncertainty."""
    value, reference = pair.automatic_mm, pair.reference_mm
    if value is None or reference is None:
        return False
    if pair.range_mm is not None:
        return pair.range_mm[0] <= reference <= pair.range_mm[1]
    return pair.uncertainty_mm is not None and abs(value - reference) <= 2 * pair.uncertainty_mm


def about(model: LoadedModel) -> dict[str, str]:
    """Name the bundle and what it ran on."""
    info = model.info
    return {k: getattr(info, k) for k in ("name", "version", "digest", "engine", "precision")}


def results_json(
    cases: Sequence[CaseResult], bundle: Mapping[str, Any], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything as JSON values: the bundle, rules and notes, tables by group, each case."""
    return {
        "schema": SCHEMA,
        "bundle": dict(bundle),
        "notes": list(notes),
        "rules": RULES,
        "paper": report_paper.SOURCE,
        **card_values(model_errors(cases)),
        "groups": [asdict(g) for g in groups(cases)],
        "cases": [c.to_dict() for c in cases],
    }


def card_json(cases: Sequence[CaseResult]) -> dict[str, Any]:
    """What `export --card` puts into a bundle's card: scores by group and the measurements' errors."""
    told: dict[str, Any] = {"evaluation": [_short(g) for g in groups(cases)]}
    return told | card_values(model_errors(cases))


def _short(told: Group) -> dict[str, Any]:
    """One group in a few figures."""
    return {
        "cases": told.name,
        "n": told.cases,
        "level_within_8_mm": told.level.near,
        "dice": {
            r.structure: {k: round(getattr(r.dice, k), 3) for k in ("mean", "median", "least")}
            for r in told.structures
        },
        "measurements": {
            r.name: {
                "n": r.agreement.n,
                "mae_mm": round(r.agreement.error.mean, 3),
                "r": r.agreement.pearson_r,
            }
            for r in told.measurements
            if r.agreement is not None
        },
    }


RULES: Final = (
    "Scores on the case's own grid, inside the window that was looked at and the one about the true level.",
    "A level that is not found counts as Dice 0 for every structure of the case.",
    (
        "A structure in the reference only counts as Dice 0 and missed, one in the answer only as Dice 0 and"
        " invented; both have no surface distance. In neither: not counted."
    ),
    (
        "HD95: the larger of the two directed 95th percentiles; ASSD: mean over both surfaces; mm between"
        " voxel centres."
    ),
    (
        "SD with n − 1. Limits of agreement: bias ± 1.96 SD. Wilcoxon signed-rank, normal approximation with"
        " tie correction, zero differences dropped (as SPSS). ICC(2,1): absolute agreement, single measurement."
    ),
    "Baselines know the true level and learn from at most eight cases of other patients.",
)
