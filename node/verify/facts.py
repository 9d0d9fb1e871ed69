"""What we find in an object ourselves, for other readers to agree with."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.implementation import LABEL_MAP_STORAGE
from dicomseg.read import attributes
from node.verify import objects
from node.verify.classes import REPORTS, SEGMENTATIONS
from node.verify.reading import Reading


def facts_of(ds: Dataset) -> Reading:
    """Return groups and values of a report, or the voxels of every segment; nothing of other objects."""
    sop_class = attributes.text(ds, "SOPClassUID")
    if sop_class in SEGMENTATIONS:
        return Reading(voxels=_voxels(ds, labels=sop_class == LABEL_MAP_STORAGE))
    if sop_class in REPORTS:
        return _report(ds)
    return Reading()


def _report(ds: Dataset) -> Reading:
    groups = objects.groups(ds)
    values = {}
    for group in groups:
        numbers = objects.numbers(group)
        if numbers:
            values[objects.tracking(group)] = float(objects.value_of(numbers[0]) or 0.0)
    return Reading(len(groups), values)


def _voxels(ds: Dataset, *, labels: bool) -> dict[str, int]:
    if labels:
        counts = np.bincount(ds.pixel_array.ravel())
        return {str(n): int(count) for n, count in enumerate(counts) if n and count}
    frames = _filled(ds)
    voxels: Counter[str] = Counter()
    for item, count in zip(ds.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        voxels[str(int(number))] += int(count)
    return {number: count for number, count in voxels.items() if count}


def _filled(ds: Dataset) -> list[int]:
    """Voxels other than 0 of every frame; one bit each, packed across frames (PS3.5 8.1.1), or one byte."""
    size, count = int(ds.Rows) * int(ds.Columns), int(ds.NumberOfFrames)
    if int(ds.BitsAllocated) == 1:
        packed = np.frombuffer(ds.PixelData, np.uint8)
        cells = np.unpackbits(packed, bitorder="little")[: size * count]
    else:
        cells = ds.pixel_array.ravel() != 0
    return [int(n) for n in cells.reshape(count, size).sum(axis=1, dtype=np.int64)]
