"""Series Number and Series Description: what of a study's series list says which result an object belongs to."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from dicomseg.read.charset import ascii_text
from dicomseg.segmentation import EngineInfo

DESCRIPTION_LENGTH: Final = 64
"""Longest Series Description (LO), in characters."""
SOURCE_STEP: Final = 1000
LARGEST_NUMBER: Final = 2**31 - 1
"""Largest Series Number (IS)."""


def series_number(own: int, source: int | None) -> int:
    """Return the number of a result's series: 4903 for object 3 of source series 4.

    own: 9001 to 9099, the number where the source has none or one that leaves no room.
    """
    if source is None or source < 0:
        return own
    number = source * SOURCE_STEP + 900 + own % 100
    return number if number <= LARGEST_NUMBER else own


def series_description(
    what: str, engine: EngineInfo, when: datetime, source_number: int | None
) -> str:
    """Return e.g. ``L4/5 14:05:33 measurements of 4, lumbar-l45 0.10.0 (research)``, at most 64 characters.

    The time comes first: viewers cut a description at 22 to 30 characters, and two results of one study, by other
    models or of other days, would begin alike. A model's name is shortened where it does not fit.
    """
    source = "" if source_number is None else f" of {source_number}"
    begin, end = f"L4/5 {when:%H:%M:%S} {what}{source}, ", " (research)"
    room = DESCRIPTION_LENGTH - len(begin) - len(end)
    version = f" {engine.version}"[:room]
    name = engine.name[: room - len(version)]
    return ascii_text(f"{begin}{name}{version}{end}")
