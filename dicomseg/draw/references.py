"""Published ranges that are printed beside the values, with their source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicomseg.measurement_names import MeasurementName


@dataclass(frozen=True, slots=True)
class Reference:
    """Mean, standard deviation, least and most in mm; axis_mm: end of the strip that shows them."""

    mean_mm: float
    sd_mm: float
    least_mm: float
    most_mm: float
    axis_mm: float


REFERENCES: Final[Mapping[MeasurementName, Reference]] = {
    "OC": Reference(9.08, 5.04, 0.0, 21.8, 25.0),
    "DAA": Reference(11.83, 3.19, 6.95, 24.1, 28.0),
    "DIVC": Reference(21.04, 7.22, 8.71, 36.68, 42.0),
    "PI": Reference(1.85, 1.38, 0.0, 5.95, 10.0),
}
"""Wang et al. 2023, Bioengineering 10:963, Table 3, the manual columns; 50 adults, mean age 34.7, 41 of 50 levels
without findings."""
