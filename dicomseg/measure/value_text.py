"""A measured value as a person reads it: one decimal place, never finer than what it is known to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dicomseg.result import FurtherValue, Measurement, Unit

COARSE: Final = 1.0
"""From this uncertainty on decimals of a value mean nothing: in mm, mm², degrees or per cent."""

UNITS: Final[dict[Unit, str]] = {"mm": " mm", "mm2": " mm²", "deg": "°", "ratio": " %"}
"""What follows a rounded number; a ratio is written in per cent."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """The numbers of a value as they are written; `sd` and `ends` are None where it has none."""

    value: str
    sd: str | None = None
    ends: tuple[str, str] | None = None


def round_value(m: Measurement | FurtherValue) -> Rounded | None:
    """Round a value with its standard uncertainty (k = 1), or its range, whose ends are rounded outwards.

    Lengths are in mm, ratios in per cent, the rest in their unit. Returns None for a refused value.
    """
    if isinstance(m, Measurement):
        value, sd, ends, scale = m.value_mm, m.uncertainty_mm, m.range_mm, 1
    else:
        value, sd, ends = m.value, m.uncertainty, m.range
        scale = 100 if m.unit == "ratio" else 1
    if value is None:
        return None
    if ends is not None:
        return _with_range(value * scale, (ends[0] * scale, ends[1] * scale))
    if sd is None:
        return Rounded(_decimal(value * scale, 1))
    digits = 0 if sd * scale >= COARSE else 1
    return Rounded(_decimal(value * scale, digits), f"{max(sd * scale, 0.1):.{digits}f}")


def _with_range(value: float, ends: tuple[float, float]) -> Rounded:
    digits = 0 if (ends[1] - ends[0]) / 2 >= COARSE else 1
    step = 10.0**-digits
    low = math.floor(round(ends[0] / step, 6)) * step
    high = math.ceil(round(ends[1] / step, 6)) * step
    return Rounded(_decimal(value, digits), ends=(_decimal(low, digits), _decimal(high, digits)))


def _decimal(value: float, digits: int) -> str:
    """A number with so many decimals, and never a negative zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def value_text(m: Measurement | FurtherValue) -> str:
    """Return e.g. ``8.1 ± 0.7 mm``, ``863 ± 8 mm²``, ``12 (10 to 15) mm``; "" for a refused value."""
    rounded = round_value(m)
    if rounded is None:
        return ""
    unit = UNITS["mm" if isinstance(m, Measurement) else m.unit]
    if rounded.ends is not None:
        low, high = rounded.ends
        return f"{rounded.value} ({low} to {high}){unit}"
    return (
        f"{rounded.value}{unit}" if rounded.sd is None else f"{rounded.value} ± {rounded.sd}{unit}"
    )
