"""Small faults put into the code, one after the other: the checks of this suite notice each, and these checks it is.

A check that notices nothing checks nothing. The faults are those that leave an object valid and its numbers plausible.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomseg.draw import surface
from dicomseg.draw.solid_files import stl_bytes
from dicomseg.encode import measurements_sr, midplane_image, result_json, seg_form, seg_groups
from dicomseg.encode import seg as seg_encoder
from dicomseg.encode.context import to_bytes
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.seg_form import LABELMAP
from dicomseg.read import series as series_reader
from dicomseg.read.series import Grid
from dicomseg.volume import Volume
from tests.support import random_series
from tests.support.exactness import differences_by_check, label_differences, surface_differences
from tests.support.random_series import Balls, Geometry, encode_input, large_enough

SERIES = Balls(
    large_enough(
        Geometry(9, 14.0, (0.2, 1.0, -0.4), (2.2, 1.45, 1.9), (-41.0, 13.0, 88.0), seed=11)
    )
)
"""Oblique, every axis with a spacing of its own, an odd number of columns, frames of whole bytes."""


def noticed_by() -> set[str]:
    """Names of the checks that find a difference between what is encoded now and the truth."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = encode_input(SERIES, Path(folder))
    found = differences_by_check(encode_all(inputs), SERIES)
    found["label map"] = label_differences(to_bytes(seg_encoder.encode(inputs, LABELMAP)), SERIES)
    meshes = surface.build_surfaces(inputs.segmentation.sides)
    numbers = sorted(meshes)
    inner = np.concatenate([SERIES.points_within(n, 0.6, 3) for n in numbers])
    outer = np.concatenate([SERIES.points_around(n, 2.5, 3) for n in numbers])
    file = stl_bytes([meshes[n] for n in numbers])
    found["surfaces"] = surface_differences(file, inner, outer, SERIES.middle_of())
    return {name for name, differences in found.items() if differences}


# ---- faults --------------------------------------------------------------------------------------


def changed(
    patch: pytest.MonkeyPatch, module: Any, name: str, change: Callable[[Any], Any]
) -> None:
    """Let a function return something else."""
    right = getattr(module, name)
    patch.setattr(module, name, lambda *a, **k: change(right(*a, **k)))


def regrid(
    patch: pytest.MonkeyPatch, change: Callable[[np.ndarray, tuple[int, int, int]], None]
) -> None:
    """Let every series be read with a changed affine."""

    def wrong(grid: Grid) -> Grid:
        affine = grid.affine.copy()
        change(affine, grid.shape)
        return replace(grid, affine=affine)

    changed(patch, series_reader, "_grid", wrong)


def mirror_axis(axis: int) -> Callable[[np.ndarray, tuple[int, int, int]], None]:
    def change(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1

    return change


def swap_spacings(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    rows, columns = (np.linalg.norm(affine[:3, n]) for n in (1, 2))
    affine[:3, 1] *= columns / rows
    affine[:3, 2] *= rows / columns


def swap_axes(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    affine[:3, [1, 2]] = affine[:3, [2, 1]]


def half_a_voxel(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    affine[:3, 3] += affine[:3, :3] @ [0.5, 0.5, 0.5]


def in_ras(affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    affine[:2] *= -1


def pixels_reversed(patch: pytest.MonkeyPatch) -> None:
    def reverse(source: Any) -> Any:
        flipped = np.ascontiguousarray(source.volume.array[::-1])
        return replace(source, volume=source.volume.with_array(flipped))

    changed(patch, random_series, "read_source", reverse)


def sides_swapped(patch: pytest.MonkeyPatch) -> None:
    """Left and right psoas under each other's number in the frames, descriptions unchanged."""
    other = {8: 9, 9: 8}
    right = seg_groups._identification
    patch.setattr(seg_groups, "_identification", lambda n: right(other.get(n, n)))
    frame = seg_form._frame
    swap = np.arange(256, dtype=np.uint8)
    swap[[8, 9]] = swap[[9, 8]]
    patch.setattr(seg_form, "_frame", lambda s, f: swap[frame(s, f)] if f[1] == 0 else frame(s, f))


def bits_turned(patch: pytest.MonkeyPatch) -> None:
    packed = np.packbits
    patch.setattr(np, "packbits", lambda frame, **_: packed(frame))


def seg_header(
    patch: pytest.MonkeyPatch, keyword: str, change: Callable[[list[Any]], list[Any]]
) -> None:
    """Let the geometry that the segmentation's frames share be another one than the grid's."""

    def wrong(slices: list[Dataset]) -> list[Dataset]:
        for ds in slices:
            setattr(ds, keyword, change(list(ds[keyword].value)))
        return slices

    changed(patch, seg_encoder, "_slices", wrong)


def picture(patch: pytest.MonkeyPatch, change: Callable[[Dataset], None]) -> None:
    def wrong(ds: Dataset) -> Dataset:
        change(ds)
        return ds

    changed(patch, midplane_image, "encode", wrong)


def move_picture(ds: Dataset) -> None:
    """By half a pixel along its rows."""
    row = np.array(ds.ImageOrientationPatient[:3], float)
    moved = np.array(ds.ImagePositionPatient, float) + row * float(ds.PixelSpacing[1]) / 2
    ds.ImagePositionPatient = [f"{v:.8g}" for v in moved]


def mirror_picture(ds: Dataset) -> None:
    values = np.frombuffer(ds.PixelData, np.uint16).reshape(ds.Rows, ds.Columns)
    ds.PixelData = np.ascontiguousarray(values[:, ::-1]).tobytes()


def points_in_ras(patch: pytest.MonkeyPatch) -> None:
    def wrong(content: dict[str, Any]) -> dict[str, Any]:
        points = content["points_mm"]
        return content | {"points_mm": [[-x, -y, z] for x, y, z in points]}

    changed(patch, result_json, "_measurement_json", wrong)


def flat_voxels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Volume, "voxel_ml", property(lambda v: v.spacing_mm[1] * v.spacing_mm[2] / 1000))


def normal_negated(patch: pytest.MonkeyPatch) -> None:
    """The plane seen from the head: its rows run to the front."""
    changed(
        patch,
        midplane_image,
        "plane_to_show",
        lambda plane: replace(plane, e_back=tuple(-np.array(plane.e_back))),
    )


def sampled_late(patch: pytest.MonkeyPatch) -> None:
    """The picture is taken half a voxel away from where it says."""
    right = midplane_image.sample

    def wrong(source: Volume, grid: Volume) -> Any:
        affine = source.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [0.5, 0.5, 0.5]
        return right(replace(source, affine=affine), grid)

    patch.setattr(midplane_image, "sample", wrong)


def next_slice(patch: pytest.MonkeyPatch) -> None:
    changed(patch, seg_groups, "_derivations", lambda items: items[1:] + items[:1])


def positions_reversed(patch: pytest.MonkeyPatch) -> None:
    changed(patch, seg_groups, "_positions", lambda items: items[::-1])


def surfaces_moved(patch: pytest.MonkeyPatch, change: Callable[[np.ndarray], np.ndarray]) -> None:
    def wrong(mesh: surface.Mesh | None) -> surface.Mesh | None:
        return None if mesh is None else replace(mesh, vertices_lps=change(mesh.vertices_lps))

    changed(patch, surface, "build_surface", wrong)


SEG = {"labels", "label map"}
PLACE = {*SEG, "greys", "surfaces"}
"""What depends on where the source's voxels are."""
CORNER = {*PLACE, "references"}
"""The same where the corners of the images are elsewhere, too."""

FAULTS: Mapping[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "columns mirrored": (lambda p: regrid(p, mirror_axis(2)), CORNER),
    "rows mirrored": (lambda p: regrid(p, mirror_axis(1)), CORNER),
    "slices mirrored": (lambda p: regrid(p, mirror_axis(0)), CORNER),
    "row and column spacing swapped": (lambda p: regrid(p, swap_spacings), PLACE),
    "rows and columns swapped": (lambda p: regrid(p, swap_axes), PLACE),
    "half a voxel off": (lambda p: regrid(p, half_a_voxel), CORNER),
    "RAS for LPS": (lambda p: regrid(p, in_ras), CORNER),
    "pixels against the order of slices": (pixels_reversed, PLACE),
    "left and right psoas swapped": (sides_swapped, SEG),
    "bits in the wrong order": (bits_turned, {"labels"}),
    "frames positioned in reverse": (positions_reversed, {*SEG, "references"}),
    "frames name the next slice": (next_slice, {"references"}),
    "pixel spacing of the segmentation swapped": (
        lambda p: seg_header(p, "PixelSpacing", lambda v: v[::-1]), SEG),
    "orientation of the segmentation swapped": (
        lambda p: seg_header(p, "ImageOrientationPatient", lambda v: v[3:] + v[:3]), SEG),
    "line ends without the half pixel": (
        lambda p: changed(p, measurements_sr, "coordinates", lambda c: c - np.float32(0.5)),
        {"lines"}),
    "line ends as row and column": (
        lambda p: changed(p, measurements_sr, "coordinates", lambda c: c[:, ::-1]), {"lines"}),
    "line ends to whole pixels": (
        lambda p: changed(p, measurements_sr, "coordinates", np.round), {"lines"}),
    "line ends in RAS in result.json": (points_in_ras, {"lines"}),
    "voxel volume without the slice spacing": (flat_voxels, {"volumes"}),
    "picture moved by half a pixel": (lambda p: picture(p, move_picture), {"greys"}),
    "picture mirrored": (lambda p: picture(p, mirror_picture), {"greys"}),
    "normal of the plane negated": (normal_negated, {"view"}),
    "picture sampled half a voxel away": (sampled_late, {"greys"}),
    "surfaces in RAS": (lambda p: surfaces_moved(p, lambda v: v * [-1, -1, 1]), {"surfaces"}),
    "surfaces mirrored": (lambda p: surfaces_moved(p, lambda v: v * [-1, 1, 1]), {"surfaces"}),
    "surfaces in centimetres": (lambda p: surfaces_moved(p, lambda v: v / 10), {"surfaces"}),
    "surfaces without the corner of their box": (
        lambda p: surfaces_moved(p, lambda v: v - v.min(axis=0)), {"surfaces"}),
}  # fmt: skip
"""Fault → how it is put in, and the checks that notice it."""


def test_nothing_is_noticed_of_the_code_as_it_is() -> None:
    assert noticed_by() == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in, checks = FAULTS[fault]
    put_in(monkeypatch)
    assert noticed_by() == checks
