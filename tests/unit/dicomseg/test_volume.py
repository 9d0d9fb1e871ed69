"""A volume knows where its voxels lie, through boxes, flips and permutations."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomseg.volume import AXIAL, Volume, build_affine

ARRAY = np.arange(2 * 3 * 4).reshape(2, 3, 4)
TILT = np.linalg.qr(np.array([[0.1, 0.2, 1.0], [0.0, 1.0, -0.2], [1.0, 0.1, 0.0]]))[0]


def volume(directions=AXIAL, spacing=(0.8, 0.7, 0.6), origin=(1.0, -2.0, 3.0)):
    return Volume(ARRAY.copy(), build_affine(directions, spacing, origin), "1.2.3")


def values_by_place(v):
    """Every voxel's value at its LPS point, whatever the array's order."""
    index = np.stack(np.indices(v.shape), axis=-1).reshape(-1, 3)
    points = np.round(v.to_patient(index), 6) + 0.0
    return {tuple(p): v.array[tuple(i)] for p, i in zip(points.tolist(), index, strict=True)}


def test_index_and_patient_are_inverse():
    v = volume(TILT)
    points = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.5, -7.25, 9.0]])
    assert np.allclose(v.to_index(v.to_patient(points)), points)
    assert np.allclose(v.to_patient(np.zeros(3)), [1.0, -2.0, 3.0])


def test_spacing_directions_and_volume():
    v = volume(TILT)
    assert v.spacing_mm == pytest.approx((0.8, 0.7, 0.6))
    assert np.allclose(v.directions, TILT)
    assert v.voxel_ml == pytest.approx(0.8 * 0.7 * 0.6 / 1000)


def test_a_box_keeps_every_voxel_in_place():
    v = volume(TILT)
    inner = v.box((1, 0, 2), (2, 3, 4))
    assert inner.shape == (1, 3, 2)
    assert values_by_place(inner).items() <= values_by_place(v).items()


@pytest.mark.parametrize("flips", list(itertools.product((0, 1), repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_orienting_moves_no_voxel(order, flips):
    directions = TILT[:, list(order)] * np.where(flips, -1.0, 1.0)
    v = volume(directions)
    oriented = v.oriented(AXIAL)
    assert values_by_place(oriented) == values_by_place(v)
    assert np.all(np.diag(oriented.directions.T @ AXIAL) > 0.9)


def test_orienting_twice_is_orienting_once():
    v = volume(-TILT).oriented(AXIAL)
    assert np.allclose(v.oriented(AXIAL).affine, v.affine)


def test_a_volume_is_read_only_and_does_not_freeze_the_callers_array():
    array, affine = ARRAY.copy(), np.eye(4)
    v = Volume(array, affine)
    with pytest.raises(ValueError, match="read-only"):
        v.array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        v.affine[0, 0] = 1
    array[0, 0, 0] = 7
    affine[0, 3] = 5.0
    assert v.affine[0, 3] == 0.0


@pytest.mark.parametrize(
    ("array", "affine"), [(np.zeros((2, 2)), np.eye(4)), (np.zeros((2, 2, 2)), np.eye(3))]
)
def test_what_is_no_volume_is_refused(array, affine):
    with pytest.raises(ValueError, match="4 × 4"):
        Volume(array, affine)


def test_another_array_must_fit():
    with pytest.raises(ValueError, match="does not fit"):
        volume().with_array(np.zeros((2, 3, 5)))
    assert volume().with_array(np.zeros((2, 3, 4))).frame_of_reference_uid == "1.2.3"


def test_ras_negates_left_and_back_once():
    v = volume()
    assert np.allclose(v.to_ras() @ [0, 0, 0, 1], [-1.0, 2.0, 3.0, 1.0])


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=3))
def test_any_point_survives_the_round_trip(point):
    v = volume(TILT)
    assert np.allclose(v.to_patient(v.to_index(np.array(point))), point)


@pytest.mark.parametrize("value", [0, 3, 7, 9])
def test_where_finds_what_a_search_of_every_voxel_finds(value: int) -> None:
    rng = np.random.default_rng(1)
    array = np.zeros((9, 12, 10), np.uint8)
    array[2:5, 3:7, 4:9] = rng.integers(0, 5, (3, 4, 5))
    array[8, 11, 9] = 7
    found = Volume(array, np.eye(4)).where(value)
    np.testing.assert_array_equal(found, np.argwhere(array == value))
