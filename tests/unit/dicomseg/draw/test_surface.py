"""Surfaces: closed, outward, as large as their segment, in its place."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.draw.surface import Mesh, build_surfaces, is_closed, signed_volume
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume, build_affine
from tests.support.meshes import shares
from tests.support.phantoms import Truth
from tests.support.shapes import Shapes

CUBE = np.array([[x, y, z] for x in (0, 2) for y in (0, 3) for z in (0, 4)], float)
FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def segments_of(truth: Truth) -> Volume:
    """Segment numbers of a phantom's labels, sides by the disc's centre."""
    labels = truth.labels
    out = np.zeros(labels.shape, np.uint8)
    for segment in SEGMENTS:
        index = labels.where(segment.structure.value)
        if segment.side is not None:
            is_left = labels.to_patient(index)[:, 0] > truth.centre_lps[0]
            index = index[is_left if segment.side == "left" else ~is_left]
        out[tuple(index.T)] = segment.number
    return labels.with_array(out)


def ellipsoid(shapes: Shapes, *, cut: bool = False) -> Volume:
    """An ellipsoid of 12 × 9 × 15 mm on a turned, flipped grid; cut by the grid's end if wanted."""
    turned = shapes.rotation(35.0, np.array([1.0, 2.0, 0.5])) @ np.diag([1.0, -1.0, 1.0])
    shape = (50, 44, 40) if not cut else (50, 44, 22)
    affine = build_affine(turned, (0.9, 0.8, 1.0), (0, 0, 0))
    affine[:3, 3] = np.array([20.0, -30.0, 7.0]) - affine[:3, :3] @ np.array([25, 22, 20])
    grid = Volume(np.zeros(shape, np.uint8), affine)
    index = np.stack(np.indices(shape), axis=-1)
    local = grid.to_patient(index) - np.array([20.0, -30.0, 7.0])
    return grid.with_array(
        (((local / np.array([12.0, 9.0, 15.0])) ** 2).sum(axis=-1) < 1).astype(np.uint8)
    )


def test_a_cube_has_its_volume_and_is_closed() -> None:
    assert signed_volume(CUBE, FACES) == pytest.approx(24.0)
    assert signed_volume(CUBE, FACES[:, ::-1]) == pytest.approx(-24.0)
    assert is_closed(FACES)


def test_a_missing_or_turned_face_is_not_closed() -> None:
    assert not is_closed(FACES[1:])
    turned = FACES.copy()
    turned[0] = turned[0, ::-1]
    assert not is_closed(turned)


@pytest.mark.parametrize("cut", [False, True])
def test_a_surface_is_closed_outward_and_as_large_as_its_voxels(shapes: Shapes, cut: bool) -> None:
    volume = ellipsoid(shapes, cut=cut)
    mesh = build_surfaces(volume).get(1)
    assert mesh is not None
    assert is_closed(mesh.faces)
    voxels_ml = np.count_nonzero(volume.array) * volume.voxel_ml
    assert mesh.volume_ml == pytest.approx(voxels_ml, rel=0.02)


def test_a_surface_lies_on_the_shape_it_was_made_from(shapes: Shapes) -> None:
    mesh = build_surfaces(ellipsoid(shapes)).get(1)
    assert mesh is not None
    local = (mesh.vertices_lps - np.array([20.0, -30.0, 7.0])) / np.array([12.0, 9.0, 15.0])
    away_mm = (np.linalg.norm(local, axis=1) - 1) * 9.0
    assert np.abs(away_mm).max() < 0.8  # a voxel
    assert np.abs(away_mm).mean() < 0.15


@pytest.mark.parametrize("spacing_mm", [(0.9, 0.47, 0.47), (4.0, 0.6, 0.6), (3.0, 3.0, 3.0)])
def test_a_slab_cut_on_all_sides_has_its_volume(spacing_mm: tuple[float, float, float]) -> None:
    """A disc in a sagittal series of a few slices: every face is a cut, so that the level decides its size."""
    shape = tuple(int(mm / s) for mm, s in zip((16.0, 11.0, 35.0), spacing_mm, strict=True))
    volume = Volume(np.ones(shape, np.uint8), np.diag([*spacing_mm, 1.0]))
    mesh = build_surfaces(volume)[1]
    assert is_closed(mesh.faces)
    assert mesh.volume_ml == pytest.approx(volume.array.size * volume.voxel_ml, rel=0.005)


def test_the_number_of_triangles_is_the_shapes_and_not_the_images() -> None:
    counts = []
    for spacing_mm in (0.4, 0.8, 1.2):
        n = round(30 / spacing_mm)
        away = spacing_mm * (np.indices((n, n, n)) - (n - 1) / 2)
        ball = (np.hypot(np.hypot(*away[:2]), away[2]) < 12).astype(np.uint8)
        mesh = build_surfaces(Volume(ball, np.diag([spacing_mm] * 3 + [1.0])))[1]
        counts.append(len(mesh.faces))
    assert max(counts) < 1.1 * min(counts)
    assert 2000 < min(counts) < 3000  # 1,810 mm² at 1.5 mm, three triangles for each of its squares


def test_too_few_voxels_have_no_surface() -> None:
    array = np.zeros((9, 9, 9), np.uint8)
    volume = Volume(array, np.eye(4))
    assert build_surfaces(volume) == {}


@pytest.mark.slow
def test_every_segment_of_a_phantom_is_closed_in_its_place_and_within_two_percent(
    coded: Truth,
) -> None:
    sides = segments_of(coded)
    meshes = build_surfaces(sides)
    assert sorted(meshes) == [s.number for s in SEGMENTS]
    for segment in SEGMENTS:
        mesh, mask = meshes[segment.number], sides.array == segment.number
        assert is_closed(mesh.faces), segment.label
        voxels_ml = np.count_nonzero(mask) * sides.voxel_ml
        assert mesh.volume_ml == pytest.approx(voxels_ml, rel=0.02), segment.label
        assert shares(mesh, mask, sides) == (1.0, 0.0), segment.label
        if segment.structure.id in {"pm", "n4"}:  # the middle of the body mirrors onto itself
            mirrored = Mesh(mesh.vertices_lps * np.float32([-1, 1, 1]), mesh.faces[:, ::-1])
            assert shares(mirrored, mask, sides)[0] < 0.05, segment.label
