"""Readings and changes as plain values, one form for files and for programs that ask."""

from __future__ import annotations

from typing import Any

from dicomseg.compare.change import Change, Reading


def reading_json(reading: Reading) -> dict[str, Any]:
    """Return one value."""
    return {
        "value": reading.value,
        "unit": reading.unit,
        "uncertainty": reading.uncertainty,
        "range": None if reading.limits is None else list(reading.limits),
        "refusal": reading.refusal or None,
    }


def change_json(change: Change) -> dict[str, Any]:
    """Return one change, in the unit of its values."""
    return {
        "change": None if change.change is None else round(change.change, 4),
        "limit": None if change.limit is None else round(change.limit, 4),
        "exceeds": change.exceeds,
        "reason": change.reason or None,
    }
