"""Which of the images of one acquisition an image is: water or fat of a Dixon, magnitude or phase, derived."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dicomseg.read.instance import Instance

Dixon = Literal["", "water", "in phase", "opposed phase", "fat", "fraction"]
Component = Literal["", "phase", "real", "imaginary"]

DIXON_RANK: Final[dict[Dixon, int]] = {
    "": 0, "water": 0, "in phase": 1, "opposed phase": 2, "fat": 3, "fraction": 4,
}  # fmt: skip
"""Water and in-phase images look like the plain one, and are preferred in this order."""

_DIXON: Final[dict[Dixon, frozenset[str]]] = {
    "water": frozenset({"WATER", "W"}),
    "in phase": frozenset({"IN_PHASE", "INPHASE", "IN PHASE", "IP", "IN"}),
    "opposed phase": frozenset(
        {
            "OPP_PHASE", "OPPPHASE", "OPPOSED_PHASE", "OPPOSED", "OUT_PHASE", "OUTPHASE", "OUT PHASE",
            "OUT_OF_PHASE", "OP", "OPP", "OUT",
        }
    ),
    "fat": frozenset({"FAT", "F"}),
    "fraction": frozenset({"FAT_FRACTION", "FATFRACTION", "FF", "WATER_FRACTION", "WF"}),
}  # fmt: skip
"""Terms in Image Type: Siemens and GE write words, Philips letters."""

_COMPONENT: Final[dict[Component, frozenset[str]]] = {
    "phase": frozenset({"P", "PHASE", "PHASE MAP", "PHASE_MAP"}),
    "real": frozenset({"R", "REAL"}),
    "imaginary": frozenset({"I", "IMAGINARY"}),
}

_IN_WORDS: Final[tuple[tuple[Dixon, re.Pattern[str]], ...]] = (
    ("fraction", re.compile(r"(fat|water)[ _-]?fraction")),
    ("in phase", re.compile(r"(?<![a-z])in[ _-]?phase|[_ ](in|ip)$")),
    ("opposed phase", re.compile(r"(?<![a-z])(opp|opposed|out|out[ _-]of)[ _-]?phase|[_ ](opp|op|out)$")),
    ("water", re.compile(r"^water:|[_ ](water|w)$|dixon.*(?<![a-z])water(?![a-z])")),
    ("fat", re.compile(r"^fat:|[_ ](fat|f)$|dixon.*(?<![a-z])fat(?![a-z]|[ _-]?(sat|sup))")),
)  # fmt: skip
"""The same in Series Description, read only where Image Type names none."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """What distinguishes images of one acquisition. derived: made from acquired images."""

    dixon: Dixon = ""
    component: Component = ""
    derived: bool = False

    @property
    def name(self) -> str:
        """In words, e.g. "fat" or "derived water"."""
        words = ("derived" if self.derived else "", self.dixon, self.component)
        return " ".join(w for w in words if w) or "plain"

    @property
    def rank(self) -> tuple[bool, int, bool]:
        """Order of preference, the least is preferred: magnitude, water or in phase, acquired."""
        return self.component != "", DIXON_RANK[self.dixon], self.derived


def read_contrast(image_type: Sequence[str], component: str = "") -> Contrast:
    """Read the contrast from Image Type, from its third value, and Complex Image Component."""
    terms_stated = {*image_type[2:4], *(t for t in image_type[2:] if len(t) > 1)}
    none: tuple[Dixon, Component] = "", ""
    dixon = next((d for d, terms in _DIXON.items() if terms & terms_stated), none[0])
    part = next(
        (c for c, terms in _COMPONENT.items() if terms & {*terms_stated, component}), none[1]
    )
    return Contrast(dixon, part, "DERIVED" in image_type)


def read_dixon(instance: Instance) -> Dixon:
    """Read which image of a Dixon acquisition it is, from Image Type, else from Series Description; "" for none."""
    dixon = read_contrast(instance.image_type).dixon
    if dixon:
        return dixon
    words = instance.series_description.lower()
    return next((dixon for dixon, pattern in _IN_WORDS if pattern.search(words)), "")
