"""`seg.dcm` in every form: the bytes that highdicom writes of all slices, and the voxels of the segmentation."""

from __future__ import annotations

import time
from dataclasses import replace
from io import BytesIO
from itertools import permutations, product
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SegmentationStorage

from dicomseg.encode import seg
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.gather import build_result
from dicomseg.encode.seg_form import BINARY, FRACTIONAL, LABELMAP, Form, form_for
from dicomseg.segmentation import Labels
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume

FORMS = {
    "binary": BINARY,
    "fractional": FRACTIONAL,
    "labelmap": LABELMAP,
    "fractional, RLE": Form("fractional", rle=True),
    "labelmap, RLE": Form("labelmap", rle=True),
}
TURNS = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"


def inputs_of(studio: Any, rows: int = 24, columns: int = 40) -> EncodeInput:
    """What an encoder gets of a small part of the studio's segmentation, with voxels of all ten segments."""
    small = studio.cropped(rows, columns)
    plan = small.plan(small.slices())
    found = small.found
    sides = found.sides.array.copy()
    for number in range(1, len(SEGMENTS) + 1):
        sides[3 + number, 2, number], sides[5, 4, number] = number, number
    sides[:2], sides[-2:] = 0, 0
    found = replace(found, sides=found.sides.with_array(sides))
    result = build_result(
        plan.source, plan.headers, found, small.measured, plan.key, plan.created, {}
    )
    return EncodeInput(
        result, plan.source, found, plan.key, plan.headers, plan.identity, plan.created
    )


def turned(inputs: EncodeInput, axes: tuple[int, ...], flips: tuple[int, ...]) -> EncodeInput:
    """The same voxels in LPS on a grid with other axes; slices are frames of one object, in an order of their own."""
    old, grid = inputs.segmentation.sides, inputs.source.grid
    affine = old.affine.copy()
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (old.shape[axis] - 1)
            affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, :3][:, axes]
    array = np.ascontiguousarray(
        old.array[tuple(slice(None, None, f) for f in flips)].transpose(axes)
    )
    sides = Volume(array, affine, old.frame_of_reference_uid)
    frames = tuple(np.random.default_rng(1).permutation(array.shape[0]).tolist())
    turned_grid = replace(
        grid, affine=affine, shape=array.shape, instances=grid.instances[:1], frame_order=frames
    )
    return replace(
        inputs,
        source=replace(inputs.source, grid=turned_grid),
        segmentation=replace(
            inputs.segmentation,
            sides=sides,
            labels=Labels(sides.with_array(np.zeros_like(array)), np.ones(array.shape, bool)),
        ),
    )


def by_highdicom(inputs: EncodeInput, form: Form) -> Dataset:
    """The object that highdicom makes of all slices, with the references to the source put in."""
    grid = inputs.source.grid
    ds = seg.by_highdicom(inputs, form, inputs.segmentation.sides.array)
    for frame in ds.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        stem, _, n = item.ReferencedSOPInstanceUID.rpartition(".")
        if f"{stem}." != seg.STAND_IN:
            continue  # segments of one slice share the item
        if grid.frame_order:
            item.ReferencedFrameNumber = grid.frame_order[int(n)] + 1
        instance = grid.instances[0 if len(grid.instances) == 1 else int(n)]
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    references = []
    for instance in grid.instances:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        references.append(item)
    ds.SourceImageSequence = references
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
    return ds


def voxels_of(ds: Dataset, sides: Volume) -> np.ndarray:
    """Segment numbers on a grid, from positions, orientation and spacing of every frame; highdicom not asked."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    row, column = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, float
    ).reshape(2, 3)
    out = np.zeros(sides.shape, np.uint8)
    frames = ds.pixel_array.reshape(int(ds.NumberOfFrames), ds.Rows, ds.Columns)
    for values, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        at = np.argwhere(values > 0)
        first = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = first + at[:, :1] * spacing[0] * column + at[:, 1:] * spacing[1] * row
        index = sides.to_index(lps)
        near = np.round(index).astype(int)
        assert len(at) == 0 or np.abs(index - near).max() < 0.01
        numbers = values[tuple(at.T)]
        if "SegmentIdentificationSequence" in groups:
            numbers = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert not out[tuple(near.T)].any(), "two frames hold the same voxel"
        out[tuple(near.T)] = numbers
    return out


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("matrix", [(24, 40), (23, 41)], ids=str)
def test_bytes_are_those_of_highdicom(studio: Any, name: str, matrix: tuple[int, int]) -> None:
    inputs = inputs_of(studio, *matrix)
    expected = to_bytes(by_highdicom(inputs, FORMS[name]))
    written = to_bytes(seg.encode(inputs, FORMS[name]))
    if written != expected:  # of an odd number of bytes highdicom fills up with the digit 0
        last = max(n for n in range(len(written)) if written[n] != expected[n])
        assert (written[last], expected[last]) == (0, ord("0"))
        written = written[:last] + b"0" + written[last + 1 :]
    assert written == expected


@pytest.mark.parametrize("turn", TURNS[::5], ids=str)
def test_bytes_are_those_of_highdicom_on_every_grid(studio: Any, turn: Any) -> None:
    inputs = turned(inputs_of(studio), *turn)
    for form in (BINARY, FRACTIONAL):
        assert to_bytes(seg.encode(inputs, form)) == to_bytes(by_highdicom(inputs, form))


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
    slices = inputs.segmentation.sides.shape[0]
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


@pytest.mark.parametrize("name", ["binary", "labelmap"])
def test_a_segmentation_without_voxels_has_every_frame(studio: Any, name: str) -> None:
    inputs = inputs_of(studio)
    sides = inputs.segmentation.sides
    nothing = replace(inputs.segmentation, sides=sides.with_array(np.zeros_like(sides.array)))
    inputs = replace(inputs, segmentation=nothing)
    written = to_bytes(seg.encode(inputs, FORMS[name]))
    assert written == to_bytes(by_highdicom(inputs, FORMS[name]))


def test_a_full_segmentation_takes_little_time(studio: Any) -> None:
    """Ten segments in each of 128 slices: as highdicom writes them, half a second of headers alone."""
    inputs = inputs_of(studio)
    old = inputs.segmentation.sides
    array = np.zeros((128, 24, 40), np.uint8)
    array[:, 2, 1:11] = np.arange(1, 11)
    sides = Volume(array, old.affine, old.frame_of_reference_uid)
    grid = replace(
        inputs.source.grid, shape=array.shape, instances=inputs.source.grid.instances[:1] * 128
    )
    run = replace(
        inputs,
        source=replace(inputs.source, grid=grid),
        segmentation=replace(inputs.segmentation, sides=sides),
    )
    seg.encode(run)
    started = time.process_time()
    ds = seg.encode(run)
    to_bytes(ds)
    assert time.process_time() - started < 0.3
    assert int(ds.NumberOfFrames) == 1280
