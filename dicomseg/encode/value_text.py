"""A measured value as a person reads it: one decimal place, never finer than what it is known to."""

from __future__ import annotations

import math
from typing import Final

from dicomseg.result import Measurement

COARSE_MM: Final = 1.0
"""From this uncertainty on decimals of a value in mm mean nothing."""


def value_text(m: Measurement) -> str:
    """Return e.g. ``8.1 ± 0.7 mm``, ``12 ± 2 mm``, ``12 (10 to 15) mm``; "" for a refused value.

    Its standard uncertainty (k = 1) follows the value, or its range, whose ends are rounded outwards.
    """
    if m.value_mm is None:
        return ""
    half_mm = m.uncertainty_mm or 0.0
    if m.range_mm is not None:
        half_mm = (m.range_mm[1] - m.range_mm[0]) / 2
    digits = 0 if half_mm >= COARSE_MM else 1
    value = f"{m.value_mm:.{digits}f}"
    if m.range_mm is not None:
        step = 10.0**-digits
        low = math.floor(round(m.range_mm[0] / step, 6)) * step
        high = math.ceil(round(m.range_mm[1] / step, 6)) * step
        return f"{value} ({low:.{digits}f} to {high:.{digits}f}) mm"
    if m.uncertainty_mm is None:
        return f"{value} mm"
    return f"{value} ± {max(m.uncertainty_mm, 0.1):.{digits}f} mm"
