"""What `seg.dcm` says of every frame and of every image it was made from, written as bytes.

A full segmentation has about 900 frames; a data set with seven others nested in it for each costs more than the rest
of the object. They differ only in the values put in here. Explicit VR little endian, as `to_bytes` writes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag
from pydicom.valuerep import DSfloat

from dicomseg.encode.seg_form import ALL_SEGMENTS, Frame
from dicomseg.read.series import Grid

_ITEM: Final = b"\xfe\xff\x00\xe0"


def per_frame_groups(
    template: Dataset, grid: Grid, frames: Sequence[Frame], order: Sequence[int]
) -> RawDataElement:
    """Return Per-Frame Functional Groups Sequence.

    template: the item of any frame, for the codes in it. grid: whose slices the frames lie on and were made from.
    order: slices as they follow each other in the file; those with a frame are counted by the dimension index.
    """
    crossed = {n for n, _ in frames}
    rank = {n: place for place, n in enumerate((n for n in order if n in crossed), start=1)}
    derivations, positions = _derivations(template, grid), _positions(grid)
    identifications = {number: _identification(number) for _, number in frames}
    items = []
    for n, number in frames:
        indices = [rank[n]] if number == ALL_SEGMENTS else [number, rank[n]]
        items.append(derivations[n] + _content(indices) + positions[n] + identifications[number])
    return _raw("PerFrameFunctionalGroupsSequence", items)


def source_images(grid: Grid, keyword: str) -> RawDataElement:
    """Return a sequence of this keyword that names every instance of the source."""
    return _raw(keyword, [_reference(i.sop_class_uid, i.sop_instance_uid) for i in grid.instances])


def _derivations(template: Dataset, grid: Grid) -> list[bytes]:
    """Derivation Image Sequence of every slice: the image, or frame of one, that its frames were made from."""
    derivation = template.DerivationImageSequence[0]
    image = derivation.SourceImageSequence[0]
    code = _written(derivation, "DerivationCodeSequence")
    rest = _written(image, "SpatialLocationsPreserved")
    rest += _written(image, "PurposeOfReferenceCodeSequence")
    out = []
    for n in range(grid.shape[0]):
        instance = grid.instances[0 if len(grid.instances) == 1 else n]
        source = _reference(instance.sop_class_uid, instance.sop_instance_uid)
        if grid.frame_order:
            source += _text("ReferencedFrameNumber", str(grid.frame_order[n] + 1))
        images = _sequence("SourceImageSequence", source + rest)
        out.append(_sequence("DerivationImageSequence", images + code))
    return out


def _positions(grid: Grid) -> list[bytes]:
    """Plane Position Sequence of every slice."""
    out = []
    for n in range(grid.shape[0]):
        lps = grid.affine[:3, 3] + n * grid.affine[:3, 0]
        text = "\\".join(str(DSfloat(float(v), auto_format=True)) for v in lps)
        out.append(_sequence("PlanePositionSequence", _text("ImagePositionPatient", text)))
    return out


def _content(indices: Sequence[int]) -> bytes:
    """Frame Content Sequence with the dimension index values of a frame."""
    packed = struct.pack(f"<{len(indices)}L", *indices)
    return _sequence("FrameContentSequence", _element("DimensionIndexValues", packed))


def _identification(number: int) -> bytes:
    """Segment Identification Sequence; nothing for a frame of all segments."""
    if number == ALL_SEGMENTS:
        return b""
    referenced = _element("ReferencedSegmentNumber", struct.pack("<H", number))
    return _sequence("SegmentIdentificationSequence", referenced)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> bytes:
    instance = _text("ReferencedSOPInstanceUID", sop_instance_uid)
    return _text("ReferencedSOPClassUID", sop_class_uid) + instance


def _raw(keyword: str, items: Sequence[bytes]) -> RawDataElement:
    value = b"".join(_item(content) for content in items)
    return RawDataElement(Tag(keyword), "SQ", len(value), value, 0, False, True)


def _item(content: bytes) -> bytes:
    return _ITEM + struct.pack("<L", len(content)) + content


def _sequence(keyword: str, content: bytes) -> bytes:
    """A sequence of one item."""
    return _element(keyword, _item(content))


def _text(keyword: str, value: str) -> bytes:
    pad = b"\0" if dictionary_VR(keyword) == "UI" else b" "
    stored = value.encode("ascii")
    return _element(keyword, stored + pad * (len(stored) % 2))


def _element(keyword: str, value: bytes) -> bytes:
    tag, vr = Tag(keyword), dictionary_VR(keyword)
    length = struct.pack("<HL", 0, len(value)) if vr == "SQ" else struct.pack("<H", len(value))
    return struct.pack("<HH", tag.group, tag.element) + vr.encode("ascii") + length + value


def _written(ds: Dataset, keyword: str) -> bytes:
    """One attribute of a data set as pydicom writes it."""
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_data_element(out, ds[keyword])
    return out.getvalue()
