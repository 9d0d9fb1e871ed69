"""Makes the fonts of the page: DejaVu Sans with the characters of European languages, under a name of its own.

`python docs/fonts.py [FOLDER]` writes `page-sans.ttf`, `page-sans-bold.ttf` and their licence, by default where
`dicomseg.draw.fonts` reads them. DejaVu is taken from the installed matplotlib.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import matplotlib as mpl
from fontTools import subset

from dicomseg.draw.fonts import BOLD, FOLDER, FONT, REGULAR

SOURCES: Final = {REGULAR: "DejaVuSans.ttf", BOLD: "DejaVuSans-Bold.ttf"}
CHARACTERS: Final = frozenset(
    [
        *range(0x20, 0x7F),  # ASCII
        *range(0xA0, 0x180),  # Latin-1 and Latin Extended-A
        *(0x192, 0x218, 0x219, 0x21A, 0x21B, 0x1E9E),
        *range(0x370, 0x400),  # Greek
        *range(0x400, 0x460),  # Cyrillic
        *(0x490, 0x491),
        *range(0x2010, 0x2040),  # punctuation
        *range(0x2070, 0x2095),  # superscripts and subscripts
        *(0x20AC, 0x2122, 0x2190, 0x2191, 0x2192, 0x2193, 0x2212, 0x2248, 0x2260, 0x2264, 0x2265),
    ]
)
_DROPPED: Final = ("GPOS", "GSUB", "GDEF", "MATH", "FFTM")
"""Rules that European languages do not need and that take most of the time of embedding; pairs are kerned by `kern`."""
_NAMED: Final = {1: FONT, 3: FONT, 4: FONT, 6: FONT.replace(" ", ""), 16: FONT}


def reduced(source: Path, style: str) -> subset.ttLib.TTFont:
    """Return a font with `CHARACTERS` only, named `FONT`."""
    options = subset.Options(layout_features=[], legacy_kern=True)
    options.notdef_outline, options.name_IDs = True, ["*"]
    options.drop_tables += list(_DROPPED)
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=CHARACTERS)
    subsetter.subset(font)
    names = font["name"]
    for record in list(names.names):
        if record.nameID in _NAMED:
            suffix = "" if record.nameID in {1, 16} else f" {style}"
            text = _NAMED[record.nameID] + (
                suffix.replace(" ", "-") if record.nameID == 6 else suffix
            )
            names.setName(
                text.strip(), record.nameID, record.platformID, record.platEncID, record.langID
            )
    font.recalcTimestamp = False
    return font


def write(folder: Path) -> None:
    """Write the fonts and the licence of their outlines."""
    origin = Path(mpl.get_data_path()) / "fonts" / "ttf"
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in SOURCES.items():
        reduced(origin / source, "Bold" if name == BOLD else "Regular").save(folder / name)
    shutil.copyfile(origin / "LICENSE_DEJAVU", folder / "LICENSE")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
