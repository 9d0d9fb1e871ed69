"""Boundary bias of a model (logit offsets), estimated from its errors on unseen cases (ADR 0019).

A diameter depends on one vessel alone. The psoas is measured only by its gaps to the vessels, so it is estimated after
them, with their outlines shifted. Medians are balanced, not means: a few values are entirely wrong, and a shift would
not help them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from dicomseg.measure.measure import measure
from dicomseg.measurement_names import MeasurementName
from dicomseg.structures import StructureId
from dicomseg.volume import Array
from model.bundle.load import LoadedModel
from model.segment import shifted
from training.data.cases import Case, load_case
from training.errors import SourceMissing, UsageError
from training.evaluate.prediction import predict_case
from training.evaluate.reference import references

LADDER: Final = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0)
"""Offsets that are tried, in logits."""
STEP: Final = 0.05
"""An offset is rounded to it; a median of tens of errors is no more precise."""
MIN_CASES: Final = 10
"""Values below which a median follows single cases."""
VESSELS: Final[Mapping[MeasurementName, StructureId]] = {"DAA": "aa", "DIVC": "ivc"}
GAPS: Final[tuple[MeasurementName, ...]] = ("OC", "PI")

Errors = Mapping[MeasurementName, Array]
"""Automatic − reference in mm, (cases, shifts of `LADDER`); NaN where a value is refused or carries a range."""


@dataclass(frozen=True, slots=True)
class OutlineBias:
    """Offsets by structure, and their evidence: per measurement the median error at each offset of `LADDER`.

    The vessels' rows are of their own offset; those of the gaps are of the psoas', with the vessels shifted.
    """

    shifts: Mapping[StructureId, float]
    medians_mm: Mapping[MeasurementName, tuple[float, ...]]


def estimate(
    paths: Sequence[Path], model: LoadedModel, report: Callable[[str], None] = lambda _: None
) -> OutlineBias:
    """Estimate the offsets of the vessels, then that of the psoas; each case is predicted twice.

    report: called with the id of each case, twice.

    Raises:
        SourceMissing: fewer than `MIN_CASES` values of a measurement.
        UsageError: no shift of `LADDER` balances a measurement.
    """
    vessels = _errors(
        paths, model, lambda shift: dict.fromkeys(VESSELS.values(), shift), tuple(VESSELS), report
    )
    shifts = {
        structure: balancing_shift(vessels[name], name) for name, structure in VESSELS.items()
    }
    gaps = _errors(paths, model, lambda shift: {**shifts, "pm": shift}, GAPS, report)
    shifts["pm"] = balancing_shift(
        np.concatenate([gaps[name] for name in GAPS]), " and ".join(GAPS)
    )
    medians = {name: _medians(errors) for name, errors in (*vessels.items(), *gaps.items())}
    return OutlineBias(shifts, medians)


def balancing_shift(errors: Array, name: str) -> float:
    """Return the shift at which the median of `errors` (cases, shifts of `LADDER`) is zero, by linear interpolation.

    Raises:
        SourceMissing: fewer than `MIN_CASES` values at some shift.
        UsageError: the median is above, or below, zero at all of them.
    """
    medians = _medians(errors)
    fewest = int(np.isfinite(errors).sum(axis=0).min())
    if fewest < MIN_CASES:
        raise SourceMissing(
            f"{fewest} values of {name} with a reference, {MIN_CASES} are needed; give more unseen cases"
        )
    crossings = [
        low + (high - low) * left / (left - right)
        for low, high, left, right in zip(LADDER, LADDER[1:], medians, medians[1:], strict=False)
        if left * right <= 0 and left != right
    ]
    if not crossings:
        raise UsageError(
            f"the median error of {name} stays between {min(medians):+.2f} and {max(medians):+.2f} mm for shifts of"
            f" {LADDER[0]:g} to {LADDER[-1]:g}; train the model further"
        )
    least = min(crossings, key=abs)
    return round(round(least / STEP) * STEP, 2)


def _medians(errors: Array) -> tuple[float, ...]:
    columns = [column[np.isfinite(column)] for column in errors.T]
    return tuple(float(np.median(c)) if c.size else float("nan") for c in columns)


def _errors(
    paths: Sequence[Path],
    model: LoadedModel,
    shifts_at: Callable[[float], Mapping[StructureId, float]],
    names: Sequence[MeasurementName],
    report: Callable[[str], None],
) -> dict[MeasurementName, Array]:
    rows = []
    for path in paths:
        case = load_case(path)
        rows.append(_of_case(case, model, shifts_at, names))
        report(case.case_id)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(LADDER), len(names))
    return {name: table[:, :, n] for n, name in enumerate(names)}


def _of_case(
    case: Case,
    model: LoadedModel,
    shifts_at: Callable[[float], Mapping[StructureId, float]],
    names: Sequence[MeasurementName],
) -> list[list[float]]:
    """Return one row of errors per shift; NaN throughout where there is no prediction."""
    known = references(case)
    segmentation = predict_case(case, replace(model, outline_shifts={})).segmentation
    if segmentation is None:
        return [[float("nan")] * len(names)] * len(LADDER)
    rows = []
    for shift in LADDER:
        lines = measure(
            replace(segmentation, scores=shifted(segmentation.scores, shifts_at(shift)))
        ).main
        rows.append(
            [_error(lines[n].value_mm, lines[n].range_mm, known[n].value_mm) for n in names]
        )
    return rows


def _error(
    value_mm: float | None, range_mm: tuple[float, float] | None, reference_mm: float | None
) -> float:
    if value_mm is None or reference_mm is None or range_mm is not None:
        return float("nan")
    return value_mm - reference_mm
