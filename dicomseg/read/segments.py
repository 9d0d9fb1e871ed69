"""Which structure a segment of any SEG is: by its coded concept, else by its name.

Viewers keep codes, replace them by one for "tissue", or write only what a person typed; numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicomseg.read import attributes
from dicomseg.structures import BY_ID, LEFT, RIGHT, SEGMENTS, STRUCTURES, Side, StructureId

SEG_CLASSES: Final[Mapping[str, str]] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation",
}
_CONTINUED: Final[Mapping[str, StructureId]] = {"73634005": "aa", "46027005": "ivc"}
"""SNOMED CT: common iliac artery and vein, which our vessels include (pydicom's context groups)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A structure, or one side of a paired one."""

    structure: StructureId
    side: Side | None = None


def numbers_of(part: Part) -> tuple[int, ...]:
    """Return the numbers in `SEGMENTS` of what a part covers: both sides where it names none."""
    return tuple(
        s.number
        for s in SEGMENTS
        if s.structure.id == part.structure and part.side in {None, s.side}
    )


def part_of(described: Dataset) -> Part | None:
    """Return what an item of the Segment Sequence describes, None when it is not one of ours."""
    return _by_code(described) or part_of_name(attributes.text(described, "SegmentLabel"))


# ---- by code -------------------------------------------------------------------------------------


def _by_code(described: Dataset) -> Part | None:
    concept = attributes.first_item(described, "SegmentedPropertyTypeCodeSequence")
    if concept is None:
        return None
    code = _code(concept)
    found = next((s for s in STRUCTURES if code == Code(s.code.value, s.code.scheme, "")), None)
    if found is None:
        continued = next((v for v in _CONTINUED if code == Code(v, "SCT", "")), None)
        return None if continued is None else Part(_CONTINUED[continued])
    return Part(found.id, _side(concept, described) if found.paired else None)


def _code(item: Dataset) -> Code:
    """Return the code; comparing it turns SRT into SCT, as pydicom does."""
    return Code(
        attributes.text(item, "CodeValue"), attributes.text(item, "CodingSchemeDesignator"), ""
    )


def _side(concept: Dataset, described: Dataset) -> Side | None:
    modifier = attributes.first_item(concept, "SegmentedPropertyTypeModifierCodeSequence")
    if modifier is None:
        region = attributes.first_item(described, "AnatomicRegionSequence")
        modifier = attributes.first_item(region, "AnatomicRegionModifierSequence")
    if modifier is None:
        return None
    sides: tuple[tuple[str, Side], ...] = ((LEFT.value, "left"), (RIGHT.value, "right"))
    return next((s for value, s in sides if _code(modifier) == Code(value, "SCT", "")), None)


# ---- by name -------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


def _names() -> dict[str, Part]:
    """Every name of ours: label and id of each segment, and of both sides of a paired structure together."""
    parts = [Part(s.structure.id, s.side) for s in SEGMENTS]
    parts += [Part(s.id) for s in STRUCTURES if s.paired]
    names: dict[str, Part] = {}
    for part in parts:
        structure = BY_ID[part.structure]
        for name in (structure.label, structure.code.meaning, structure.id):
            sides = ("",) if part.side is None else (f", {part.side}", f" {part.side}", f".{part.side}")  # fmt: skip
            names |= {_plain(name + side): part for side in sides}
            if part.side is not None:
                names[_plain(f"{part.side} {name}")] = part
    return names


_BY_NAME: Final[Mapping[str, Part]] = _names()


def part_of_name(label: str) -> Part | None:
    """Return the structure that one of our names means, None when it is not one of ours."""
    return _BY_NAME.get(_plain(label))
