"""Corrections of readers that a node kept: a folder with `correction.json`, segmentations, our own and the images.

The node judged them on the grid of the images; the labels are put together by the function that it judged with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom import dcmread

from dicomseg.errors import InputRefused
from dicomseg.read.combined import combine
from dicomseg.read.seg_labels import SegLabels, read_labels, structure_values
from dicomseg.read.series import Grid
from dicomseg.structures import BY_ID, BY_VALUE, SEGMENTS, STRUCTURES, StructureId
from dicomseg.volume import Array
from training.data.prepare import to_sitk_image
from training.errors import ImportRefused
from training.importing.label_table import Target
from training.importing.pairs import Mask

RECORD: Final = "correction.json"
RESULT: Final = "result.dcm"
CORRECTED: Final = "corrected"
"""How such labels were made: an algorithm drew, a reader corrected. What viewers write of it is not reliable."""
MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """What the node says of a correction. segmentations: names, oldest first. model: of the result, by name, version, digest."""

    folder: Path
    segmentations: tuple[str, ...]
    model: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Corrected:
    """Masks of a correction. context: structures of our result that no reader drew. card: provenance, without identifiers."""

    masks: Sequence[Mask]
    context: frozenset[StructureId]
    card: Mapping[str, Any]


def home_of(file: Path) -> Path | None:
    """Return the folder of the correction that a segmentation is part of, None where it is part of none."""
    return file.parent if (file.parent / RECORD).is_file() else None


def read_record(folder: Path) -> Record:
    """Return the record of a correction; raises `ImportRefused`."""
    file = folder / RECORD
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(MOST_BYTES))
        names = tuple(str(name) for name in content["segmentations"])
        model = content["model"] if isinstance(content.get("model"), dict) else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImportRefused(
            f"rule readable: {RECORD} is no record of a correction ({type(error).__name__});"
            " `lumbar-node retry` the segmentation's series makes it again"
        ) from error
    if not names or any(Path(name).name != name for name in names):
        raise ImportRefused(f"rule readable: {RECORD} names no segmentations of its folder")
    kept = {k: str(model[k])[:64] for k in ("name", "version", "digest") if k in model}
    return Record(folder, names, kept)


def read_corrected(folder: Path, grid: Grid) -> Corrected:
    """Return the labels of a correction on the grid of its images; raises `ImportRefused`."""
    record = read_record(folder)
    objects = [_read(record.folder / name, grid) for name in record.segmentations]
    own = record.folder / RESULT
    base = _read(own, grid).numbers if own.is_file() else np.zeros(grid.shape, np.uint8)
    both = combine(base, objects)
    masks = [
        (Target(s.structure.id, s.side), to_sitk_image(_mask(both.numbers, s.number), grid.affine))
        for s in SEGMENTS
    ]
    present = {BY_VALUE[int(v)].id for v in np.unique(both.labels) if v}
    before = structure_values(base)
    changed = [
        s.id
        for s in STRUCTURES
        if s.id in both.drawn and not np.array_equal(before == s.value, both.labels == s.value)
    ]
    context = frozenset(BY_ID) - frozenset(both.drawn)
    card = {
        "drawn": list(both.drawn),
        "changed": changed,
        "unchanged": sorted(context & present),
        "model": dict(record.model),
    }
    return Corrected(masks, context, card)


def _mask(numbers: Array, number: int) -> Array:
    mask: Array = (numbers == number).astype(np.uint8)
    return mask


def _read(file: Path, grid: Grid) -> SegLabels:
    try:
        return read_labels(dcmread(file), grid)
    except InputRefused as refusal:
        raise ImportRefused(f"{file.name}: {refusal}") from refusal
    except Exception as error:
        raise ImportRefused(
            f"{file.name}: rule readable: its frames cannot be read ({type(error).__name__})"
        ) from error
