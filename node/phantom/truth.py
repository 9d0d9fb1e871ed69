"""Values of a result beside those of the phantom, and whether they agree within the stated uncertainty (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NAMES: Final = ("OC", "DAA", "DIVC", "PI")
COVERAGE: Final = 2.0
"""Expanded uncertainty: about 95 % (GUM 6.3.3); results state the standard uncertainty."""
LEVEL_MM: Final = 5.0
"""Largest distance of the measured centre of the disc from the true one: half the height of a disc."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value: measured, its standard uncertainty and the truth, in mm.

    measured_mm: None where it was refused. reason: of a refusal.
    """

    name: str
    measured_mm: float | None
    uncertainty_mm: float
    true_mm: float
    reason: str = ""

    @property
    def deviation_mm(self) -> float | None:
        """Measured minus true."""
        return None if self.measured_mm is None else self.measured_mm - self.true_mm

    @property
    def limit_mm(self) -> float:
        """Largest deviation that the stated uncertainty allows."""
        return COVERAGE * self.uncertainty_mm

    @property
    def agrees(self) -> bool:
        """Whether there is a value, and it is true within the stated uncertainty."""
        deviation = self.deviation_mm
        return deviation is not None and abs(deviation) <= self.limit_mm


def compare_values(result: Mapping[str, Any], truth: Mapping[str, Any]) -> tuple[Comparison, ...]:
    """Compare the four measurements of `result.json` with `truth.json`; one without a true value is left out."""
    found = []
    for name in NAMES:
        true_mm = truth["measurements"].get(name, {}).get("value_mm")
        if true_mm is None:
            continue
        measured = result["measurements"][name]
        refusal = measured.get("refusal") or {}
        value, uncertainty = measured["value_mm"], measured.get("uncertainty_mm")
        found.append(
            Comparison(
                name,
                None if value is None else float(value),
                float(uncertainty or 0.0),
                float(true_mm),
                str(refusal.get("text", "")),
            )
        )
    return tuple(found)


def level_off_mm(result: Mapping[str, Any], truth: Mapping[str, Any]) -> float:
    """Return the distance of the measured centre of the L4/5 disc from the true one."""
    return math.dist(result["level"]["centre_mm"], truth["level"]["centre_lps"])
