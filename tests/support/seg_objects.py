"""DICOM SEG objects of invented readers, written by highdicom."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomseg.structures import LEFT, RIGHT, Code, Side
from dicomseg.volume import Points

_READER: Final[Mapping[str, Any]] = {
    "manufacturer": "Viewer",
    "manufacturer_model_name": "Drawing",
    "software_versions": "1",
    "device_serial_number": "SN-4711",
    "content_creator_name": "Reader^Rita",
}


def concept(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def with_side(
    described: hd.seg.SegmentDescription, side: Side | str | None
) -> hd.seg.SegmentDescription:
    """Say left or right as a modifier of the property type."""
    if side:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(LEFT if side == "left" else RIGHT)]  # fmt: skip
    return described


def save_seg(
    file: Path,
    images: Sequence[Path],
    masks: Sequence[Any],
    affine: Points,
    described: Sequence[hd.seg.SegmentDescription],
    *,
    kind: str = "BINARY",
    syntax: str = ExplicitVRLittleEndian,
    change: Callable[[Dataset], None] = lambda _: None,
) -> Path:
    """Write one mask per segment on any grid of the patient of the images. change: applied before it is saved."""
    sources = sorted((dcmread(p) for p in images), key=lambda ds: int(ds.InstanceNumber))
    for ds in sources:
        ds.remove_private_tags()
    channels: dict[str, list[int]] | None = {"SegmentNumber": list(range(1, len(masks) + 1))}
    pixels = np.stack(list(masks), axis=-1).astype(np.uint8 if kind == "BINARY" else np.float32)
    if kind == "LABELMAP":
        channels, pixels = None, np.zeros(np.asarray(masks[0]).shape, np.uint8)
        for n, mask in enumerate(masks, start=1):
            pixels[mask] = n
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = hd.Volume(
            pixels, affine, coordinate_system="PATIENT",
            frame_of_reference_uid=sources[0].FrameOfReferenceUID, channels=channels,
        )  # fmt: skip
        seg = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=volume,
            segmentation_type=kind,
            segment_descriptions=list(described),
            series_instance_uid=hd.UID(),
            series_number=300,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            transfer_syntax_uid=syntax,
            omit_empty_frames=True,
            **_READER,
        )
        change(seg)
        file.parent.mkdir(parents=True, exist_ok=True)
        seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID
        seg.save_as(file)
    return file
