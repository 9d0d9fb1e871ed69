"""The eight structures and their ten segments: the one table every other list derives from.

Codes: `SCT` are read in pydicom's context groups and public segmentation tables; psoas major has no
SNOMED code there, so the FMA code of UBERON:0001298 is used; the L4 nerve root has no public code at
all, so it carries one of our declared private scheme. Colours are sRGB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

StructureId = Literal["l4", "ivd", "l5", "dura", "n4", "aa", "pm", "ivc"]
Side = Literal["left", "right"]

PRIVATE_SCHEME: Final = "99LUMBAR"
"""Designator of the private coding scheme; declared in every object that uses one of its codes."""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: value, coding scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure: label value = network channel, codes, colour, whether it has two sides."""

    id: StructureId
    value: int
    label: str
    code: Code
    region: Code
    rgb: tuple[int, int, int]
    paired: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of `seg.dcm`: a structure, or one side of a paired one."""

    number: int
    structure: Structure
    side: Side | None

    @property
    def label(self) -> str:
        """Name as a viewer shows it, e.g. ``Psoas major, left``."""
        return self.structure.label if self.side is None else f"{self.structure.label}, {self.side}"


LUMBAR_SPINE: Final = Code("122496007", "SCT", "Lumbar spine")
LEVEL_L45: Final = Code("243923001", "SCT", "Level of L4/L5 intervertebral disc")
LEFT: Final = Code("7771000", "SCT", "Left")
RIGHT: Final = Code("24028007", "SCT", "Right")
ANATOMICAL_STRUCTURE: Final = Code("123037004", "SCT", "Anatomical Structure")

STRUCTURES: Final[tuple[Structure, ...]] = (
    Structure(
        "l4",
        1,
        "L4 vertebral body",
        Code("11994002", "SCT", "L4 vertebra"),
        LUMBAR_SPINE,
        (236, 202, 130),
    ),
    Structure(
        "ivd", 2, "L4/5 disc", Code("84020006", "SCT", "L4/L5 disc"), LUMBAR_SPINE, (90, 190, 220)
    ),
    Structure(
        "l5",
        3,
        "L5 vertebral body",
        Code("49668003", "SCT", "L5 vertebra"),
        LUMBAR_SPINE,
        (214, 160, 84),
    ),
    Structure(
        "dura", 4, "Dural sac", Code("18545000", "SCT", "Dura mater"), LUMBAR_SPINE, (150, 120, 230)
    ),
    Structure(
        "n4",
        5,
        "L4 nerve root",
        Code("L4ROOT", PRIVATE_SCHEME, "L4 spinal nerve root"),
        LUMBAR_SPINE,
        (250, 230, 50),
        paired=True,
    ),
    Structure(
        "aa",
        6,
        "Aorta and common iliac arteries",
        Code("7832008", "SCT", "Abdominal aorta"),
        LUMBAR_SPINE,
        (225, 45, 45),
    ),
    Structure(
        "pm",
        7,
        "Psoas major",
        Code("18060", "FMA", "Psoas major"),
        LUMBAR_SPINE,
        (165, 92, 60),
        paired=True,
    ),
    Structure(
        "ivc",
        8,
        "Inferior vena cava and common iliac veins",
        Code("64131007", "SCT", "Inferior vena cava"),
        LUMBAR_SPINE,
        (60, 90, 220),
    ),
)

BY_ID: Final[Mapping[StructureId, Structure]] = MappingProxyType({s.id: s for s in STRUCTURES})
BY_VALUE: Final[Mapping[int, Structure]] = MappingProxyType({s.value: s for s in STRUCTURES})
CHANNELS: Final = len(STRUCTURES) + 1
"""Network channels: background 0 and one per structure."""


def _segments() -> tuple[Segment, ...]:
    sided: list[tuple[Structure, Side | None]] = []
    for structure in STRUCTURES:
        sided += (
            [(structure, "left"), (structure, "right")] if structure.paired else [(structure, None)]
        )
    return tuple(Segment(n, structure, side) for n, (structure, side) in enumerate(sided, start=1))


SEGMENTS: Final[tuple[Segment, ...]] = _segments()
"""Ten segments, numbered from 1 in the order of the structures; left before right."""
