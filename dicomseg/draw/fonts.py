"""The page's fonts: a reduced DejaVu Sans, and the complete one for characters that it lacks.

A PDF holds the glyphs that a page uses. To choose them out of the complete DejaVu, with its rules for a hundred
scripts, takes 0.4 s a page; out of the reduced one, which `docs/fonts.py` makes, 0.03 s.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

FOLDER: Final = Path(__file__).with_name("typefaces")
REGULAR: Final = "page-sans.ttf"
BOLD: Final = "page-sans-bold.ttf"
FONT: Final = "Page Sans"
COMPLETE: Final = "DejaVu Sans"
"""Comes with matplotlib, so that every machine sets the same page."""


@cache
def register() -> None:
    """Make the reduced font known to matplotlib, once per process."""
    for name in (REGULAR, BOLD):
        font_manager.fontManager.addfont(FOLDER / name)


def can_show(text: str) -> bool:
    """Say whether the page's fonts have every character of a text."""
    font = FT2Font(font_manager.findfont(COMPLETE))
    return all(c.isspace() or font.get_char_index(ord(c)) for c in text)
