"""The scores and measurements of single evaluated cases, as `lumbar-train` writes them, and statistics over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.structures import STRUCTURES
from node.models.run_files import items, mapping, number, numbers, text

Z95: Final = 1.96
LONGEST_MM: Final = 1000.0
_IDS: Final = tuple(s.id for s in STRUCTURES)


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of one case in mm. refusal: code, where there is no automatic value."""

    automatic: float | None
    reference: float | None
    refusal: str = ""

    @property
    def difference(self) -> float | None:
        """Automatic − reference; None where one is missing."""
        if self.automatic is None or self.reference is None:
            return None
        return self.automatic - self.reference


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """One case: Dice by structure, pairs by measurement. level_error_mm: None where the level was missed."""

    case: str
    dice: Mapping[str, float]
    pairs: Mapping[str, Pair]
    level_error_mm: float | None
    why: str = ""

    @property
    def mean_dice(self) -> float | None:
        """Mean over the structures that count; None where none does."""
        return fmean(self.dice.values()) if self.dice else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland–Altman over n pairs, mm: bias is the mean of automatic − reference, limits are bias ± 1.96 SD (n − 1).

    mae: mean absolute difference. limits: None for one pair. refused: references without an automatic value.
    """

    n: int
    bias: float | None
    limits: tuple[float, float] | None
    mae: float | None
    refused: int = 0


def agreement(pairs: Sequence[Pair]) -> Agreement:
    """Return how automatic values agree with their references."""
    differences = [d for d in (p.difference for p in pairs) if d is not None]
    refused = sum(p.automatic is None and p.reference is not None for p in pairs)
    if not differences:
        return Agreement(0, None, None, None, refused)
    bias, limits = fmean(differences), None
    if len(differences) > 1:
        reach = Z95 * stdev(differences)
        limits = (bias - reach, bias + reach)
    return Agreement(len(differences), bias, limits, fmean(map(abs, differences)), refused)


def pairs_of(cases: Sequence[CaseFigures], name: str) -> list[Pair]:
    """Return one measurement of the cases that have it."""
    return [c.pairs[name] for c in cases if name in c.pairs]


def mean_and_sd(values: Sequence[float]) -> tuple[float, float] | None:
    """Return mean and SD (n − 1; nan for one value); None for none."""
    if not values:
        return None
    return fmean(values), stdev(values) if len(values) > 1 else math.nan


def compared_case(value: object) -> CaseFigures:
    """Return one entry of `scores` of `comparison.json`."""
    plain = mapping(value)
    return _case(plain, text(plain.get("case"), 80), numbers(plain.get("dice"), _IDS))


def evaluated_case(value: object) -> CaseFigures:
    """Return one entry of `cases` of a results file."""
    plain = mapping(value)
    scores = mapping(plain.get("scores"))
    dice = {k: number(mapping(scores.get(k)).get("dice")) for k in _IDS}
    found = {str(k): v for k, v in dice.items() if v is not None}
    return _case(plain, text(plain.get("case_id"), 80), found)


def _case(plain: Mapping[str, Any], name: str, dice: Mapping[str, float]) -> CaseFigures:
    measured = mapping(plain.get("measurements"))
    pairs = {
        str(k): _pair(measured[k]) for k in MAIN_MEASUREMENTS if isinstance(measured.get(k), dict)
    }
    kept = {k: v for k, v in dice.items() if 0 <= v <= 1}
    return CaseFigures(
        name, kept, pairs, number(plain.get("level_error_mm")), text(plain.get("why"))
    )


def _pair(plain: Mapping[str, Any]) -> Pair:
    values = numbers(plain, ("automatic_mm", "reference_mm"))
    kept = {k: v for k, v in values.items() if 0 <= v <= LONGEST_MM}
    return Pair(kept.get("automatic_mm"), kept.get("reference_mm"), text(plain.get("refusal"), 60))


def compared_cases(value: object) -> tuple[CaseFigures, ...]:
    """Return the cases of a list, without those that have no name."""
    return tuple(c for c in map(compared_case, items(value)) if c.case)


def evaluated_cases(value: object) -> tuple[CaseFigures, ...]:
    """Return the cases of a list, without those that have no name."""
    return tuple(c for c in map(evaluated_case, items(value)) if c.case)
