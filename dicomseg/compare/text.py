"""Values, changes and verdicts as short English texts."""

from __future__ import annotations

from typing import Final

from dicomseg.compare.change import REASONS, Change, Reading
from dicomseg.measurement_names import UNIT_TEXTS

_OTHER_UNIT: Final = ("", 2, 3)


def quantity(value: float, unit: str, *, finer: bool = False) -> str:
    """Return a number with the decimals of its unit, and the unit; finer: those of an uncertainty."""
    after, digits, more = UNIT_TEXTS.get(unit, _OTHER_UNIT)
    return f"{value:.{more if finer else digits}f}{after}"


def reading_text(reading: Reading | None) -> str:
    """Return a value with its standard uncertainty or range; why there is none where it was refused."""
    if reading is None:
        return "–"
    if reading.value is None:
        return f"refused: {reading.refusal}" if reading.refusal else "–"
    if reading.limits is not None:
        low, high = (quantity(v, reading.unit) for v in reading.limits)
        return f"{quantity(reading.value, reading.unit)} ({low} to {high})"
    doubt = reading.uncertainty
    text = quantity(reading.value, reading.unit)
    return text if doubt is None else f"{text} ± {quantity(doubt, reading.unit, finer=True)}"


def change_text(change: Change, unit: str) -> str:
    """Return a change with its sign, a dash where there is none."""
    if change.change is None:
        return "–"
    sign = "+" if change.change > 0 else ""
    return f"{sign}{quantity(change.change, unit, finer=True)}"


def verdict(change: Change) -> str:
    """Return whether a change exceeds what both values leave open, or why that is not decided."""
    if change.reason:
        return REASONS[change.reason]
    return "exceeds the uncertainty" if change.exceeds else "within the uncertainty"
