"""The four main measurements, by name and in the words of a report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

MeasurementName = Literal["OC", "DAA", "DIVC", "PI"]
MAIN_MEASUREMENTS: Final[tuple[MeasurementName, ...]] = ("OC", "DAA", "DIVC", "PI")

TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "OC": "Oblique corridor, left psoas to artery",
        "DAA": "Abdominal aorta (or common iliac artery), maximum diameter",
        "DIVC": "IVC (or common iliac vein), maximum diameter",
        "PI": "Right psoas to IVC, minimum distance",
    }
)
"""Meaning of a measurement's code in the reports, at most 64 characters (LO)."""

MODEL_UNKNOWN: Final = "model uncertainty unknown"
"""In the note of an uncertainty that has no part for the model."""

UNIT_TEXTS: Final[Mapping[str, tuple[str, int, int]]] = MappingProxyType(
    {
        "mm": (" mm", 1, 2),
        "mm2": (" mm²", 0, 1),
        "deg": ("°", 1, 2),
        "ratio": ("", 2, 3),
    }
)
"""Of a unit: what follows a number, and the decimals of a value and of a part of its uncertainty."""
