from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dicomseg.structures import STRUCTURES
from training.phantom import phantom
from training.phantom.phantom import Phantom

SEEDS = (21, 22, 23)
LIMITS_ML = {
    "l4": (18, 70),
    "ivd": (3, 35),
    "l5": (18, 65),
    "dura": (5, 35),
    "n4": (0.3, 4),
    "aa": (4, 50),
    "pm": (100, 480),
    "ivc": (4, 110),
}


@pytest.fixture(scope="module", params=SEEDS)
def made(request: pytest.FixtureRequest) -> Phantom:
    return phantom.build(request.param, slices=40, matrix=128)


def centroid(p: Phantom, mask: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(p.affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + p.affine[:3, 3])


def test_all_eight_structures_have_plausible_volumes(made: Phantom) -> None:
    voxel_ml = abs(np.linalg.det(made.affine[:3, :3])) / 1000
    for s in STRUCTURES:
        low, high = LIMITS_ML[s.id]
        assert low < (made.labels == s.value).sum() * voxel_ml < high, s.id


def test_structures_stand_where_they_belong_in_the_patient(made: Phantom) -> None:
    at = {s.id: centroid(made, made.labels == s.value) for s in STRUCTURES}
    assert at["l4"][2] > at["ivd"][2] > at["l5"][2]
    assert at["dura"][1] > at["ivd"][1] + 10  # behind
    assert at["aa"][1] < at["ivd"][1]  # in front
    assert at["ivc"][1] < at["ivd"][1]
    assert at["ivc"][0] < at["aa"][0]  # vena cava to the right


@pytest.mark.parametrize("value", [7, 5])
def test_paired_structures_have_two_parts_one_per_side(made: Phantom, value: int) -> None:
    parts, count = ndimage.label(made.labels == value, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    large = [n + 1 for n in np.argsort(sizes)[::-1][:2]]
    x = sorted(centroid(made, parts == n)[0] for n in large)
    middle = centroid(made, made.labels == 2)[0]
    assert count >= 2
    assert x[0] < middle - 10
    assert x[1] > middle + 10
    assert sizes[large[0] - 1] + sizes[large[1] - 1] > 0.9 * sizes.sum()


def test_picture_is_finite_grey_and_ordered(made: Phantom) -> None:
    assert np.isfinite(made.image).all()
    assert made.image.min() >= 0
    assert made.image.max() <= 4095
    median = {s.id: np.median(made.image[made.labels == s.value]) for s in STRUCTURES}
    assert median["aa"] < median["l4"] < median["dura"]
    assert median["pm"] < median["l4"]


def test_rebuild_is_equal_bit_by_bit() -> None:
    one, two = (phantom.build(31, slices=8, matrix=48) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.labels, two.labels)
    assert one.card == two.card


def test_oblique_grid_shows_the_same_person() -> None:
    straight = phantom.build(32, slices=32, matrix=96)
    oblique = phantom.build(32, slices=32, matrix=96, oblique=True)
    assert np.abs(oblique.affine[:3, :3] - straight.affine[:3, :3]).max() > 0.1
    for value in (1, 2, 3):  # the others are cut at another place
        a, b = (centroid(p, p.labels == value) for p in (straight, oblique))
        assert np.linalg.norm(a - b) < 0.8  # voxels of 3.2 × 2.5 mm


def test_sagittal_slab_shows_the_whole_lumbar_spine() -> None:
    made = phantom.build(33, fov="sagittal", slices=8, matrix=96)
    assert made.affine[0, 0] < 0  # slices to the right
    assert made.affine[2, 1] < 0  # rows to the feet
    for value in (1, 2, 3, 4):
        assert (made.labels == value).any()
    assert made.raster.shape[1] * made.raster.spacing_mm[1] == pytest.approx(300, abs=2)


def test_random_contrast_changes_the_picture_and_not_the_labels() -> None:
    plain = phantom.build(34, slices=8, matrix=48)
    other = phantom.build(34, slices=8, matrix=48, randomised=True)
    assert np.array_equal(plain.labels, other.labels)
    assert not np.array_equal(plain.image, other.image)
    assert other.card["contrast"]["randomised"] is True
