"""Another form of objects that are written already: the segmentation, what refers to it, and compressed copies.

A result folder holds one form of `seg.dcm`; a destination may want another. Nothing but the objects is needed, and
the bytes are those that `encode` would have written of that form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, RLELossless, SegmentationStorage

from dicomseg.encode.seg_form import Form, Kind, stored
from dicomseg.encode.uids import ResultKey
from dicomseg.implementation import LABEL_MAP_STORAGE
from dicomseg.volume import Array

CLASSES: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "binary": SegmentationStorage,
        "fractional": SegmentationStorage,
        "labelmap": LABEL_MAP_STORAGE,
    }
)
"""SOP class of each form."""
_ROLES: Final = ("seg", "volumes")
_PARTS: Final = ("instance", "series", "dimensions")
_GROUPS: Final = Tag("PerFrameFunctionalGroupsSequence")
_SEGMENT_NUMBER: Final = Tag("ReferencedSegmentNumber")
_BITS: Final = MappingProxyType({"binary": 1, "fractional": 8, "labelmap": 8})


def kind_of(seg: Dataset) -> Kind:
    """Return the form of a segmentation that this program wrote. Raises `KeyError` for any other."""
    kinds: Mapping[str, Kind] = {kind.upper(): kind for kind in CLASSES}
    return kinds[str(seg.SegmentationType)]


def new_uids(kind: Kind, keys: Sequence[ResultKey]) -> Mapping[str, str]:
    """Return the UIDs of the segmentation and of what refers to it in another form, by those of the default form.

    keys: of the result, and of its predecessor.
    """
    return {
        key.uid(f"{role}.{part}"): key.uid(f"{role}.{kind}.{part}")
        for key in keys
        for role in _ROLES
        for part in _PARTS
    }


def convert(seg: Dataset, kind: Kind, uids: Mapping[str, str]) -> None:
    """Turn a segmentation of bits or bytes, as it lies in the result folder, into another form.

    uids: see `new_uids`. Raises `ValueError` where segments overlap, which a label map cannot hold.
    """
    values, groups = _frames(seg), seg.get_item(_GROUPS)
    del seg[_GROUPS]
    rename(seg, kind, uids)
    seg.SegmentationType = kind.upper()
    seg.BitsAllocated = seg.BitsStored = _BITS[kind]
    seg.HighBit = seg.BitsStored - 1
    for keyword in ("MaximumFractionalValue", "SegmentationFractionalType"):
        if keyword in seg:
            del seg[keyword]
    seg[_GROUPS] = groups
    if kind == "fractional":
        seg.MaximumFractionalValue, seg.SegmentationFractionalType = 1, "OCCUPANCY"
    if kind == "labelmap":
        values = _merge(seg, values)
    seg.PixelData = stored(values, Form(kind))


def rename(ds: Dataset, kind: Kind, uids: Mapping[str, str]) -> None:
    """Put the UIDs of another form of the segmentation in the place of those of the default form.

    Wherever they are: in the object's own, and in references, whose class changes with them.
    """
    _rename(ds, uids)
    for item in _items(ds):
        if item.get("ReferencedSOPClassUID") in set(CLASSES.values()):
            item.ReferencedSOPClassUID = CLASSES[kind]
    if ds.SOPClassUID in set(CLASSES.values()):
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(CLASSES[kind])
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)


def compress(ds: Dataset) -> None:
    """Compress the pixels of an object without loss (RLE), frame by frame; bits and objects without pixels stay."""
    if "PixelData" in ds and ds.BitsAllocated > 1:
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)


def _frames(seg: Dataset) -> list[Array]:
    """Frames (rows, columns) of 0 and 1, uint8."""
    shape = (int(seg.NumberOfFrames), int(seg.Rows), int(seg.Columns))
    stored_values = np.frombuffer(seg.PixelData, np.uint8)
    if seg.BitsAllocated == 1:
        stored_values = np.unpackbits(stored_values, bitorder="little")
    return list(stored_values[: int(np.prod(shape))].reshape(shape))


def _merge(seg: Dataset, values: Sequence[Array]) -> list[Array]:
    """Turn frames of one segment each into frames of all; returns their values, segment numbers."""
    frames: dict[int, tuple[Dataset, Array]] = {}
    for groups, mask in zip(seg.PerFrameFunctionalGroupsSequence, values, strict=True):
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        (content,) = groups.FrameContentSequence
        rank = int(content.DimensionIndexValues[1])
        if rank not in frames:
            del groups.SegmentIdentificationSequence
            content.DimensionIndexValues = [rank]
            frames[rank] = groups, np.zeros_like(mask)
        frames[rank][1][...] += mask * np.uint8(number)
    merged = [frames[rank] for rank in sorted(frames)]
    if sum(map(np.count_nonzero, values)) != sum(np.count_nonzero(v) for _, v in merged):
        raise ValueError("segments overlap; a label map cannot hold them")
    seg.PerFrameFunctionalGroupsSequence = [groups for groups, _ in merged]
    seg.NumberOfFrames = len(merged)
    seg.DimensionIndexSequence = [
        item for item in seg.DimensionIndexSequence if item.DimensionIndexPointer != _SEGMENT_NUMBER
    ]
    if not _leaves_gaps(seg):
        seg.DimensionOrganizationType = "3D"
    seg.PixelPaddingValue = 0
    return [values for _, values in merged]


def _leaves_gaps(seg: Dataset) -> bool:
    """Whether frames of one slice each do not follow each other at the distance of slices."""
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    lps = np.array(
        [
            groups.PlanePositionSequence[0].ImagePositionPatient
            for groups in seg.PerFrameFunctionalGroupsSequence
        ],
        float,
    )
    steps_mm = np.linalg.norm(np.diff(lps, axis=0), axis=1)
    return bool((steps_mm > 1.5 * float(measures.SpacingBetweenSlices)).any())


def _rename(ds: Dataset, uids: Mapping[str, str]) -> None:
    for element in ds:
        if element.VR == "UI" and str(element.value) in uids:
            element.value = uids[str(element.value)]
    for item in _children(ds):
        _rename(item, uids)


def _items(ds: Dataset) -> list[Dataset]:
    """Every item of every sequence in a data set, however deep."""
    return [part for item in _children(ds) for part in (item, *_items(item))]


def _children(ds: Dataset) -> list[Dataset]:
    return [item for element in ds if element.VR == "SQ" for item in element.value]
