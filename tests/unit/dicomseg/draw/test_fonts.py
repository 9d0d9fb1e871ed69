"""The reduced fonts: the letters of DejaVu, every character of the page, and little to embed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont
from matplotlib import font_manager

from dicomseg.draw.fonts import BOLD, COMPLETE, FOLDER, FONT, REGULAR, can_show, register
from dicomseg.draw.languages import LANGUAGES

ORIGIN = {REGULAR: "DejaVuSans.ttf", BOLD: "DejaVuSans-Bold.ttf"}


def characters(value: Any) -> Iterator[str]:
    """Every character of the texts of a table."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from characters(getattr(value, field.name))
    elif hasattr(value, "items"):
        for inner in value.values():
            yield from characters(inner)
    elif isinstance(value, tuple | frozenset):
        for inner in value:
            yield from characters(inner)
    elif isinstance(value, str):
        yield from value


@pytest.mark.parametrize("name", ORIGIN)
def test_every_text_of_the_page_is_in_the_reduced_fonts(name: str) -> None:
    available = TTFont(FOLDER / name).getBestCmap()
    signs = "×·–±°²³¹⁴…•?−"
    needed = {*signs, *"Müller Żaneta Διονυσιος Люкс", *map(chr, range(0x20, 0x7F))}
    for texts in LANGUAGES.values():
        needed |= set(characters(texts))
    assert sorted(c for c in needed if ord(c) not in available) == []


@pytest.mark.parametrize("name", ORIGIN)
def test_letters_and_widths_are_those_of_dejavu(name: str) -> None:
    reduced = TTFont(FOLDER / name)
    complete = TTFont(Path(mpl.get_data_path()) / "fonts" / "ttf" / ORIGIN[name])
    assert reduced["head"].unitsPerEm == complete["head"].unitsPerEm
    for code, glyph in reduced.getBestCmap().items():
        own = complete.getBestCmap()[code]
        drawn, original = (DecomposingRecordingPen(f.getGlyphSet()) for f in (reduced, complete))
        reduced.getGlyphSet()[glyph].draw(drawn)
        complete.getGlyphSet()[own].draw(original)
        assert drawn.value == original.value, chr(code)
        assert reduced["hmtx"][glyph][0] == complete["hmtx"][own][0], chr(code)


def test_the_fonts_are_found_by_their_own_name_and_not_taken_for_another() -> None:
    register()
    for weight, name in (("normal", REGULAR), ("bold", BOLD)):
        own = font_manager.FontProperties(family=[FONT], weight=weight)
        assert Path(font_manager.findfont(own)) == FOLDER / name
        other = font_manager.FontProperties(family=[COMPLETE], weight=weight)
        assert Path(font_manager.findfont(other)).name == ORIGIN[name]
    # the licence of the outlines asks for another name, and to travel with them
    assert "Bitstream Vera" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


def test_rules_of_other_scripts_are_left_out() -> None:
    for name in ORIGIN:
        tables = set(TTFont(FOLDER / name).keys())
        assert not tables & {"GPOS", "GSUB", "GDEF", "MATH"}
        assert "kern" in tables
        assert (FOLDER / name).stat().st_size < 120_000


def test_a_name_is_printed_in_the_first_spelling_that_the_font_has() -> None:
    assert can_show("Müller Jörg, Wałęsa Żaneta, Διονυσιος, Люкс")
    assert not can_show("山田 太郎")
