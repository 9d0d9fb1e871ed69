"""Surfaces of real shapes beside the repository: closed, outward, as large as their segment, in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from dicomseg.draw.surface import Mesh, build_surfaces, is_closed
from dicomseg.volume import Volume, build_affine
from tests.support.meshes import shares

pytestmark = [pytest.mark.shared, pytest.mark.slow]

SPINE = {1: 1, 2: 2, 3: 3, 4: 4}
VESSELS = {1: 1, 2: 2, 3: 3, 5: 7, 6: 7, 7: 7, 8: 10, 9: 10, 10: 10, 11: 9, 12: 8}
"""Their labels to our segment numbers."""


def segments(path: Path, numbers: dict[int, int]) -> Volume:
    """Segment numbers of a label map in LPS."""
    if not path.exists():
        pytest.skip(f"{path.parent.name}/{path.name} is not beside the repository")
    image = SimpleITK.ReadImage(str(path))
    directions = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    affine = build_affine(directions, image.GetSpacing()[::-1], image.GetOrigin())
    table = np.zeros(256, np.uint8)
    table[list(numbers)] = list(numbers.values())
    return Volume(table[SimpleITK.GetArrayFromImage(image)], affine)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("spider/5.l45_labels", SPINE),  # 18 slices, every structure cut on both sides
        ("spider/11.l45_labels", SPINE),
        ("vessels_psoas/ts_s0009.labels", VESSELS),
        ("vessels_psoas/spl_abdomen.labels", VESSELS),  # slices of 3 mm
    ],
)
def test_real_shapes_are_closed_in_their_place_and_within_two_percent(
    name: str, numbers: dict[int, int], shared: Path
) -> None:
    sides = segments(shared / "data" / f"{name}.nii.gz", numbers)
    meshes = build_surfaces(sides)
    assert set(meshes) == set(numbers.values())
    for number, mesh in meshes.items():
        mask = sides.array == number
        assert is_closed(mesh.faces), number
        voxels_ml = np.count_nonzero(mask) * sides.voxel_ml
        assert mesh.volume_ml == pytest.approx(voxels_ml, rel=0.02), number
        inside, outside = shares(mesh, mask, sides)
        assert inside > 0.97, number
        assert outside < 0.03, number


def test_a_mirrored_psoas_is_not_where_the_psoas_is(shared: Path) -> None:
    sides = segments(shared / "data" / "vessels_psoas" / "ts_s0009.labels.nii.gz", VESSELS)
    meshes = build_surfaces(sides)
    for number in (8, 9):
        mesh, mask = meshes[number], sides.array == number
        assert shares(mesh, mask, sides)[0] > 0.97
        mirrored = Mesh(mesh.vertices_lps * np.float32([-1, 1, 1]), mesh.faces[:, ::-1])
        # the lumbar spine is nearly symmetric: a mirrored left psoas lies on the right one
        assert shares(mirrored, mask, sides)[0] < 0.05
        # psoas is left where x is positive
        assert (mesh.vertices_lps[:, 0].mean() > 0) == (number == 8)
