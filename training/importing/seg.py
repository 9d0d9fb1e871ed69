"""One DICOM SEG: which structure each segment is, and its mask with its geometry."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import highdicom as hd
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicomseg.read import attributes
from dicomseg.structures import LEFT, RIGHT, STRUCTURES, Side, StructureId
from training.errors import ImportRefused
from training.importing.label_table import LabelTable, Target
from training.importing.pairs import to_sitk_image

_PARTS: Final[Mapping[str, StructureId]] = {"73634005": "aa", "46027005": "ivc"}
"""SNOMED CT: common iliac artery and vein, which our vessels include (pydicom's context groups)."""
_DAMAGE: Final = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    RuntimeError,
    EOFError,
    OSError,
    NotImplementedError,
)


def read_seg(file: Path) -> hd.seg.Segmentation:
    """Read a SEG; raises `ImportRefused`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hd.seg.segread(file)
    except _DAMAGE as error:
        raise ImportRefused(
            f"{file.name}: rule readable: no valid DICOM SEG ({type(error).__name__}); export it again"
        ) from error


def read_targets(
    seg: hd.seg.Segmentation, table: LabelTable | None, name: str
) -> dict[int, Target]:
    """Return the target of every segment: by the table (number or label), else by its coded concept.

    Raises:
        ImportRefused: segments that neither knows, by number and label.
    """
    out: dict[int, Target] = {}
    unknown = []
    for number in (n for n in seg.segment_numbers if n != 0):  # 0: a label map's background
        described = seg.get_segment_description(number)
        entry = (table or {}).get(str(number)) or (table or {}).get(described.segment_label)
        target = entry or coded_target(described)
        if target is None:
            unknown.append(f"{number} ({described.segment_label})")
        else:
            out[number] = target
    if unknown:
        raise ImportRefused(
            f"{name}: rule known-labels: segments {', '.join(unknown)} have no known code; map each with"
            " --labels, as a structure or as background"
        )
    return out


def coded_target(described: Dataset) -> Target | None:
    """Return the structure and side of a segment's property type, None when it is not one of ours."""
    concept = attributes.first_item(described, "SegmentedPropertyTypeCodeSequence")
    if concept is None:
        return None
    code = _code(concept)
    structure = next(
        (s.id for s in STRUCTURES if code == Code(s.code.value, s.code.scheme, s.code.meaning)),
        None,
    )
    if structure is None:
        part = next((v for v in _PARTS if code == Code(v, "SCT", "")), None)
        return Target(_PARTS[part]) if part is not None else None
    if not next(s.paired for s in STRUCTURES if s.id == structure):
        return Target(structure)
    return Target(structure, _side(concept, described))


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
    sides: tuple[tuple[Any, Side], ...] = ((LEFT, "left"), (RIGHT, "right"))
    return next((s for code, s in sides if _code(modifier) == Code(code.value, "SCT", "")), None)


def read_masks(
    seg: hd.seg.Segmentation, targets: Mapping[int, Target], name: str
) -> list[tuple[Target, SimpleITK.Image]]:
    """Return one mask in [0, 1] per segment on the grid of the SEG; a segment without frames is empty."""
    wanted = [n for n, target in targets.items() if target.structure is not None]
    out = []
    for number in wanted:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                volume = seg.get_volume(segment_numbers=[number])
        except _DAMAGE as error:
            reason = " ".join(str(error).split())[:160]
            raise ImportRefused(
                f"{name}: rule regular-grid: its frames make no volume ({reason}); export it again"
            ) from error
        out.append((targets[number], to_sitk_image(volume.array[..., 0], volume.affine)))
    return out
