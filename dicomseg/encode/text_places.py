"""Where the texts of measured lines are written on the mid-disc image: beside the lines, never on one of them.

OHIF reads a point per line from the report, writes the text below it and to its right, and joins both by a dotted line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from dicomseg.volume import Array

TEXT_POSITION: Final = hd.sr.CodedConcept("TextPosition", "99CS3D", "Text Annotation Position")
TEXT_WIDTH_MM: Final = 50.0
"""Room for a name, a value and its uncertainty in the letters of a viewer."""
MARGIN_MM: Final = 14.0
"""Between the outermost line and the texts; a viewer sets them up to 8 mm right of and below their point."""
ROW_MM: Final = 9.0
"""Between two texts of one column."""


def text_places(
    lines: Mapping[str, Array], size: tuple[int, int], pixel_mm: float
) -> dict[str, Array]:
    """Return a point (1, 2) per line, (column, row) in pixels: left of all lines or right of them, one below the other.

    lines: ends as SCOORD (2, 2), by name. size: rows and columns of the image.
    """
    if not lines:
        return {}
    ends = np.stack(list(lines.values()))
    middle = float(ends[..., 0].mean())
    rows, columns = size
    margin, width, step = (v / pixel_mm for v in (MARGIN_MM, TEXT_WIDTH_MM, ROW_MM))
    at = {
        True: max(float(ends[..., 0].min()) - margin - width, 1.0),
        False: min(float(ends[..., 0].max()) + margin / 2, columns - width - 1.0),
    }
    out: dict[str, Array] = {}
    for is_left, column in at.items():
        names = [n for n in lines if (lines[n][:, 0].mean() < middle) == is_left]
        names.sort(key=lambda n: float(lines[n][:, 1].mean()))
        centre = float(np.mean([lines[n][:, 1].mean() for n in names])) if names else 0.0
        for place, name in enumerate(names):
            row = centre + (place - (len(names) - 1) / 2) * step - step
            out[name] = np.clip([[column, row]], 0.5, [columns - 0.5, rows - 0.5])
    return out


def text_position(point: Array, image: Dataset) -> hd.sr.ScoordContentItem:
    """Return the item of a measurement group that says where its text is written. point: (1, 2), column and row."""
    item = hd.sr.ScoordContentItem(
        name=TEXT_POSITION,
        graphic_type=hd.sr.GraphicTypeValues.POINT,
        graphic_data=point,
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )
    source = hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    item.ContentSequence = hd.sr.ContentSequence([source])
    return item
