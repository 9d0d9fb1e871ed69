"""The canonical grid of the segmentation network and the paper's crop, as plain numbers.

Wang et al. 2023, §2.2: axial volume of 320 × 320 pixels, crop rows H/4−40 … 3H/4+40 and columns W/4−10 … 3W/4+10
(240 × 180), zero padding to 128 × 240 × 180. Axis order everywhere: slices to the head, rows to the back, columns to
the left.
"""

from __future__ import annotations

from typing import Final

Index = tuple[int, int, int]
"""Voxels along slices, rows and columns."""

SPACING_MM: Final = (0.8, 0.75, 0.75)
"""Slices, rows, columns of the canonical grid."""
MATRIX: Final = (128, 320, 320)
MULTIPLE: Final = 4
"""The network halves its grid twice."""
SPACING_TOLERANCE: Final = 0.01
"""Relative; below it a source counts as being on the canonical spacing already."""
OBLIQUITY_DEG: Final = 20.0
"""An axial acquisition tilted by up to this much is used as it is: training turns by ±15°, and
interpolation costs sharpness."""
CENTRE_OFFSET_MM: Final = (0.0, 0.0, 0.0)
"""Window centre minus disc centre along slices, rows and columns. Zero: vessels reach 60 mm in front
of the disc centre, the spinous process 75 mm behind it, psoas 70 mm to each side; the crop of
180 × 135 mm about the disc holds them all but the outermost rim of a large psoas."""


def paper_crop(rows: int, columns: int) -> tuple[slice, slice]:
    """Return the paper's crop of an image matrix: slices of its rows and of its columns."""
    return slice(rows // 4 - 40, 3 * rows // 4 + 40), slice(
        columns // 4 - 10, 3 * columns // 4 + 10
    )


_ROWS, _COLUMNS = paper_crop(MATRIX[1], MATRIX[2])
PAPER_SHAPE: Final[Index] = (MATRIX[0], _ROWS.stop - _ROWS.start, _COLUMNS.stop - _COLUMNS.start)
"""128 × 240 × 180."""
