"""The page's measures, all in one place: millimetres from the top left corner of A4, sizes of type in points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE_MM: Final = (210.0, 297.0)
LEFT: Final = 10.0
RIGHT: Final = 200.0
DPI: Final = 200
"""Of the page as pixels and of the pictures in the PDF; 5.2 pt type is at its limit below 150."""
PAGE_PX: Final = (1653, 2338)
"""The page at that many dots per inch. Panels begin and end on pixels, so that pictures need no second resampling."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height


def pixels(box: Box) -> tuple[int, int, int, int]:
    """Return left, top, width and height of a panel in pixels of the page."""
    across, down = (px / mm for px, mm in zip(PAGE_PX, PAGE_MM, strict=True))
    left, top = round(box.x * across), round(box.y * down)
    return left, top, round((box.x + box.width) * across) - left, round(box.bottom * down) - top


HEAD_TITLE: Final = 15.4
HEAD_BADGE: Final = Box(10.4, 17.8, 33.0, 4.2)
HEAD_LINES: Final = (12.6, 16.9, 20.8)
HEAD_RULE: Final = 23.8
HEAD_WIDTHS: Final = (95.0, 95.0, 88.0)

MIDPLANE: Final = Box(LEFT, 26.5, 112.0, 97.0)
VIEW: Final = Box(125.0, 26.5, 75.0, 97.0)
SMALL_TOP: Final = 134.5
_SMALL: Final = (45.25, 46.0, 48.25)
PLAIN, SAGITTAL, CORONAL, FRONT = (
    Box(LEFT + n * _SMALL[2], SMALL_TOP, _SMALL[0], _SMALL[1]) for n in range(4)
)
"""The row of four smaller panels."""

CAPTION_TITLE: Final = 3.7
CAPTION_MORE: Final = 6.7

TABLE_TOP: Final = 193.0
TABLE_ROW: Final = 10.4
TABLE_FIRST: Final = 10.6
CHIP: Final = (9.0, 4.4)
NAME_X: Final = 21.0
NAME_WIDTH: Final = 35.0
BETWEEN: Final = (2.6, 2.4)
"""Below the row's middle: the first line of what a value lies between, and its distance to the second."""
VALUE_X: Final = 93.5
STRIP: Final = Box(96.0, 0.0, 32.0, 5.4)

PLAN_X: Final = 131.5
PLAN_VALUE_X: Final = 149.5
PLAN_ROW: Final = 3.35
PLAN_FIRST: Final = 8.4

WARNINGS_TOP: Final = 247.6
WARNINGS_ROW: Final = 3.5
WARNINGS_WIDTH: Final = 183.0
WARNINGS_LINES: Final = 4
"""Lines of warnings; what is left over is counted in one more."""

FOOT_TOP: Final = 276.8
FOOT_ROW: Final = 2.5

HALF_MIDPLANE_MM: Final = 56.0
"""Half the width that panel A shows of the patient."""
HEAD_ROOM_MM: Final = 14.0
"""Free in front of the foremost vessel, for two rows of labels."""
HALF_PLAIN_MM: Final = 45.0
HALF_SAGITTAL_MM: Final = 38.0
HALF_CORONAL_MM: Final = 42.0
HALF_VIEW_MM: Final = 46.0
HALF_FRONT_MM: Final = 40.0

VIEW_ANGLES: Final = (38.0, 10.0)
"""Degrees to the patient's left of the front, and above: where a surgeon looks in from for the oblique approach."""
VIEW_SHIFT_MM: Final = (4.0, -10.0, 0.0)
FRONT_SHIFT_MM: Final = (4.0, 0.0, 0.0)
RULER_MM: Final = 10
