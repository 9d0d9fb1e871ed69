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
        "DAA": "Diameter of the artery",
        "DIVC": "Diameter of the vein",
        "PI": "Right psoas to vein",
    }
)
"""Meaning of a measurement's code in the reports, at most 64 characters (LO)."""
