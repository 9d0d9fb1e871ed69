"""Inputs of the segmentation's encoder: a small series with all ten segments, on grids with other axes."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.gather import build_result
from dicomseg.encode.seg_form import BINARY, FRACTIONAL, LABELMAP, Form
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
