"""Flags that values of any kind may have: their codes and sentences."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from dicomseg.measure.scene import Scene
from dicomseg.structures import StructureId

Mark = tuple[str, str]
"""The code of a flag and its sentence."""

REASSIGNED: Final = "section_reassigned"


MAX_SOFTNESS_MM: Final = 2.0
"""A value that moves by more than this, up or down, between outlines that give and take by `OUTLINE_SHIFT` is flagged. Of 80 values
of 20 phantoms seven are, the errors of 5.0, 3.7 and 2.2 mm among them; the others are off by 1.9 mm at most."""


def unsure_marks(soft_mm: tuple[float, float]) -> list[Mark]:
    """Flag a length or position that depends on uncertain boundaries. soft_mm: its limits when they are moved."""
    low, high = soft_mm
    if (high - low) / 2 <= MAX_SOFTNESS_MM:
        return []
    text = f"uncertain boundaries: {low:.1f} to {high:.1f} mm when they are moved"
    return [("outline_unsure", text)]


def reassigned_marks(vessels: Collection[StructureId], scene: Scene) -> list[Mark]:
    """Flag a value of a vessel that lost or got a piece."""
    touched = {
        name
        for piece in scene.pieces
        if piece.instead is not None
        for name in (piece.section.structure, piece.instead)
    }
    if not touched.intersection(vessels):
        return []
    text = "part of one vessel was reassigned to another structure; see the warnings"
    return [(REASSIGNED, text)]
