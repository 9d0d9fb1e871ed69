"""Flags of values: their codes and sentences."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from dicomseg.measure.scene import Scene
from dicomseg.structures import StructureId

Mark = tuple[str, str]
"""The code of a flag and its sentence."""

REASSIGNED: Final = "section_reassigned"


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
