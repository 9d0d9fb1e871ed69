"""A measured value as a person reads it: one decimal place, never finer than what it is known to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dicomseg.result import Measurement

COARSE_MM: Final = 1.0
"""From this uncertainty on decimals of a value in mm mean nothing."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """The numbers of a value as they are written, in mm; `sd` and `ends` are None where it has none."""

    value: str
    sd: str | None = None
    ends: tuple[str, str] | None = None


def round_value(m: Measurement) -> Rounded | None:
    """Round a value with its standard uncertainty (k = 1), or its range, whose ends are rounded outwards.

    Returns None for a refused value.
    """
    if m.value_mm is None:
        return None
    half_mm = m.uncertainty_mm or 0.0
    if m.range_mm is not None:
        half_mm = (m.range_mm[1] - m.range_mm[0]) / 2
    digits = 0 if half_mm >= COARSE_MM else 1
    value = f"{m.value_mm:.{digits}f}"
    if m.range_mm is not None:
        step = 10.0**-digits
        low = math.floor(round(m.range_mm[0] / step, 6)) * step
        high = math.ceil(round(m.range_mm[1] / step, 6)) * step
        return Rounded(value, ends=(f"{low:.{digits}f}", f"{high:.{digits}f}"))
    if m.uncertainty_mm is None:
        return Rounded(value)
    return Rounded(value, f"{max(m.uncertainty_mm, 0.1):.{digits}f}")


def value_text(m: Measurement) -> str:
    """Return e.g. ``8.1 ± 0.7 mm``, ``12 ± 2 mm``, ``12 (10 to 15) mm``; "" for a refused value."""
    rounded = round_value(m)
    if rounded is None:
        return ""
    if rounded.ends is not None:
        low, high = rounded.ends
        return f"{rounded.value} ({low} to {high}) mm"
    return f"{rounded.value} mm" if rounded.sd is None else f"{rounded.value} ± {rounded.sd} mm"
