"""Voxels of the segmentation lie in place in every form, on every grid."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SegmentationStorage

from dicomseg.encode import seg
from dicomseg.encode.context import to_bytes
from dicomseg.encode.seg_form import Form, form_for
from dicomseg.structures import SEGMENTS
from tests.support.seg_inputs import FORMS, TURNS, inputs_of, turned, voxels_of

LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"


@pytest.mark.parametrize("name", FORMS)
def test_voxels_lie_in_place_on_every_grid(studio: Any, name: str) -> None:
    inputs = inputs_of(studio, 23, 41)
    before = inputs.segmentation.sides
    for axes, flips in TURNS if name == "binary" else TURNS[::7]:
        run = turned(inputs, axes, flips)
        ds = pydicom.dcmread(BytesIO(to_bytes(seg.encode(run, FORMS[name]))))
        assert np.array_equal(voxels_of(ds, before), before.array), (axes, flips)
        for groups in ds.PerFrameFunctionalGroupsSequence:
            (image,) = groups.DerivationImageSequence[0].SourceImageSequence
            position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
            n = run.source.grid.frame_order.index(image.ReferencedFrameNumber - 1)
            affine = run.segmentation.sides.affine
            assert np.allclose(position, affine[:3, 3] + n * affine[:3, 0], atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_highdicom_reads_the_labels_back(studio: Any, name: str) -> None:
    inputs = inputs_of(studio, 23, 41)
    sides = inputs.segmentation.sides
    read = hd.seg.segread(BytesIO(to_bytes(seg.encode(inputs, FORMS[name]))))
    volume = read.get_volume(combine_segments=True, allow_missing_positions=True)
    out = np.zeros(sides.shape, np.uint8)
    index = np.argwhere(volume.array > 0)
    lps = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    out[tuple(np.round(sides.to_index(lps)).astype(int).T)] = volume.array[tuple(index.T)]
    assert np.array_equal(out, sides.array)
    assert [d.segment_number for d in read.SegmentSequence] == [s.number for s in SEGMENTS]


def test_forms_differ_in_frames_class_and_syntax(studio: Any) -> None:
    inputs = inputs_of(studio)
    sides = inputs.segmentation.sides.array
    slices = int(sides.any(axis=(1, 2)).sum())
    assert slices < len(sides)
    objects = {name: seg.encode(inputs, form) for name, form in FORMS.items()}
    assert [int(objects[n].NumberOfFrames) for n in ("labelmap", "labelmap, RLE")] == [slices] * 2
    assert (
        int(objects["binary"].NumberOfFrames) == int(objects["fractional"].NumberOfFrames) > slices
    )
    classes = {name: str(ds.SOPClassUID) for name, ds in objects.items()}
    assert {c for n, c in classes.items() if n.startswith("labelmap")} == {LABEL_MAP_STORAGE}
    assert classes["binary"] == classes["fractional"] == SegmentationStorage
    for name, ds in objects.items():
        assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID
        syntax = RLELossless if "RLE" in name else ExplicitVRLittleEndian
        assert ds.file_meta.TransferSyntaxUID == syntax
    sizes = {name: len(ds.PixelData) for name, ds in objects.items()}
    assert sizes["fractional, RLE"] < sizes["fractional"] / 3
    # one object of the result has one class; a compressed copy is the same object
    uids = {name: str(ds.SOPInstanceUID) for name, ds in objects.items()}
    assert uids["labelmap"] == uids["labelmap, RLE"] != uids["binary"]


def test_bits_of_whole_bytes_are_the_default(studio: Any) -> None:
    assert [form_for(*m).kind for m in ((320, 320), (381, 381), (159, 159), (597, 336), (270, 270))] == [
        "binary", "fractional", "fractional", "binary", "fractional",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="bits"):
        Form("binary", rle=True)
    assert seg.encode(inputs_of(studio)).SegmentationType == "BINARY"
    assert seg.encode(inputs_of(studio, 23, 41)).SegmentationType == "FRACTIONAL"
