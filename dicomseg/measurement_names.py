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
