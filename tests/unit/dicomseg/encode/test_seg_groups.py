"""Frames of the segmentation are the bytes that highdicom writes of all slices, in little time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomseg.encode import seg
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.seg_form import BINARY, FRACTIONAL, Form
from dicomseg.volume import Volume
from tests.support.seg_inputs import FORMS, TURNS, inputs_of, turned


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
