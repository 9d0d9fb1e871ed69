"""Colours and strokes of everything drawn: on grey pictures, in 3D, and on paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicomseg.measurement_names import MeasurementName
from dicomseg.structures import StructureId

Dash = str | tuple[float, tuple[float, ...]]

INK: Final = "#16212b"
SOFT: Final = "#5b6b78"
FAINT: Final = "#d9e0e5"
BAND: Final = "#c3ced6"
RED: Final = "#b3261e"
PALE_RED: Final = "#fdecea"
AMBER: Final = "#d98e04"
PALE_AMBER: Final = "#fff6df"
PALE: Final = "#f2f5f7"
NIGHT: Final = "#0b1116"
NOT_IMAGED: Final = (38, 46, 54)
"""Grey levels of what lies outside the image: dark blue, so that it is not taken for black tissue."""

CORRIDOR: Final = "#c6f432"
CORRIDOR_RGB: Final = (0.74, 0.93, 0.20)
ON_WHITE: Final = "#5f7a00"
"""The plane's trace where the corridor's colour would be too pale."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one structure is drawn: outline, stroke, and surface in 3D.

    The two vessels differ in hue, in brightness and in stroke, so that grey print and colour-blind eyes tell them apart.
    """

    outline: str
    stroke: Dash
    rgb: tuple[float, float, float]
    ink: str
    """Of its name on white."""


LOOKS: Final[Mapping[StructureId, Look]] = {
    "l4": Look("#f2dfa8", "-", (0.93, 0.87, 0.74), INK),
    "l5": Look("#f2dfa8", "-", (0.93, 0.87, 0.74), INK),
    "ivd": Look("#4fd8e8", "-", (0.45, 0.78, 0.86), "#127a8a"),
    "dura": Look("#c9a6ff", "-", (0.66, 0.58, 0.90), "#5a3fa0"),
    "n4": Look("#ffe14d", "-", (0.98, 0.88, 0.25), "#8a6d00"),
    "aa": Look("#ff4d4d", "-", (0.90, 0.27, 0.22), "#8c1512"),
    "pm": Look("#ffb066", (0, (1.2, 1.2)), (0.72, 0.42, 0.33), "#8a4a2f"),
    "ivc": Look("#4aa3ff", (0, (4, 1.6)), (0.12, 0.25, 0.66), "#123a8a"),
}

VALUES: Final[Mapping[MeasurementName, str]] = {
    "OC": CORRIDOR,
    "DAA": "#ff8a80",
    "DIVC": "#4aa3ff",
    "PI": "#ffffff",
}
"""Lines and labels of the four measurements."""
