"""Stray parts are silenced in logits and labels alike; sides are decided in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.segmentation import Scores
from dicomseg.structures import CHANNELS, SEGMENTS
from dicomseg.volume import AXIAL, Volume, build_affine
from model.postprocess import largest_components, spine_x, split_sides
from tests.support.scores import logits_at

SHAPE = (20, 24, 28)
AFFINE = build_affine(AXIAL, (1.0, 1.0, 1.0), (-14.0, 0.0, 0.0))
NUMBER = {(s.structure.id, s.side): s.number for s in SEGMENTS}


def logits_of(labels: np.ndarray, runner_up: int = 0) -> np.ndarray:
    """Best class leads the runner-up by 4, every other one by 8."""
    logits = np.full((CHANNELS, *labels.shape), -8.0, np.float32)
    logits[runner_up] = -4.0
    np.put_along_axis(logits, labels[None].astype(np.int64), 0.0, axis=0)
    return logits


def test_a_stray_part_is_silenced_and_interpolation_does_not_bring_it_back() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:12, 2:12, 2:12] = 1
    labels[16:18, 16:18, 20:22] = 1
    kept = largest_components(Scores(logits_of(labels), AFFINE))
    best = kept.logits.argmax(0)
    assert not best[14:, 14:, 18:].any()
    np.testing.assert_array_equal(best[:13, :13, :13], labels[:13, :13, :13])
    between = Volume(labels, AFFINE).to_patient(
        np.random.default_rng(1).uniform((14, 14, 18), (18.9, 19.9, 23.9), (400, 3))
    )
    assert not logits_at(kept, between).argmax(0).any()


def test_scores_without_a_stray_part_stay_as_they_are() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:12, 2:12, 2:12] = 1
    scores = Scores(logits_of(labels), AFFINE)
    assert largest_components(scores) is scores


def test_both_psoas_stay_and_a_third_part_goes() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:18, 4:14, 1:7] = 7
    labels[2:18, 4:14, 20:27] = 7
    labels[8:12, 18:22, 10:16] = 7
    best = largest_components(Scores(logits_of(labels), AFFINE)).logits.argmax(0)
    assert (best[2:18, 4:14, 1:7] == 7).all()
    assert (best[2:18, 4:14, 20:27] == 7).all()
    assert not best[:, 16:].any()


def test_a_psoas_in_two_pieces_does_not_push_out_the_other_one() -> None:
    """The left one is torn; its smaller piece is still larger than all of the right one."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 8:12, 12:15] = 1
    labels[2:18, 10:20, 20:27] = 7
    labels[2:10, 2:8, 18:27] = 7
    labels[4:12, 8:13, 1:5] = 7
    best = largest_components(Scores(logits_of(labels), AFFINE)).logits.argmax(0)
    assert (best[4:12, 8:13, 1:5] == 7).all()
    assert (best[2:18, 10:20, 20:27] == 7).all()
    assert not best[:, :8].any()


def test_a_spot_on_the_other_side_is_no_second_psoas() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 8:12, 12:15] = 1
    labels[2:18, 4:14, 20:27] = 7
    labels[8:10, 8:10, 3:5] = 7
    best = largest_components(Scores(logits_of(labels), AFFINE)).logits.argmax(0)
    assert not best[..., :8].any()


def test_the_scores_given_are_not_touched() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:12, 2:12, 2:12] = 1
    labels[16:18, 16:18, 20:22] = 1
    logits = logits_of(labels)
    before = logits.copy()
    logits.flags.writeable = False
    assert not largest_components(Scores(logits, AFFINE)).logits.argmax(0)[14:].any()
    np.testing.assert_array_equal(logits, before)


def test_a_second_part_far_smaller_than_the_first_goes_too() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:18, 4:14, 1:9] = 6
    labels[2:4, 20:22, 20:22] = 6
    best = largest_components(Scores(logits_of(labels), AFFINE)).logits.argmax(0)
    assert not best[:, 18:].any()


def test_a_sac_in_two_pieces_stays_and_a_third_one_goes() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[11:20, 10:14, 10:18] = 4  # a stenosis lies between
    labels[0:8, 12:16, 10:18] = 4
    labels[2:7, 2:6, 22:27] = 4
    best = largest_components(Scores(logits_of(labels), AFFINE)).logits.argmax(0)
    np.testing.assert_array_equal(best[..., :20], labels[..., :20])
    assert not best[..., 20:].any()


def test_parts_that_touch_by_a_corner_are_one() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:8, 2:8, 2:8] = 2
    labels[8:14, 8:14, 8:14] = 2
    best = largest_components(Scores(logits_of(labels), AFFINE)).logits.argmax(0)
    np.testing.assert_array_equal(best, labels)


def test_a_stray_part_does_not_turn_into_a_stray_part_of_its_runner_up() -> None:
    """Whatever the order of the two structures is."""
    for body, other in ((1, 3), (3, 1)):
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:12, 2:12, 2:12] = body
        labels[2:12, 2:12, 16:26] = other
        labels[16:18, 18:20, 12:14] = body
        logits = logits_of(labels)
        logits[other, 15:19, 17:21, 11:15] = -1.0
        best = largest_components(Scores(logits, AFFINE)).logits.argmax(0)
        assert not best[14:, 16:].any()
        np.testing.assert_array_equal(best[:13], labels[:13])


def spine() -> np.ndarray:
    """Bodies at columns 11…16 (x −3…2), psoas and roots on both sides, more on the patient's left."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[13:19, 6:12, 11:17] = 1
    labels[8:13, 6:12, 11:17] = 2
    labels[2:8, 6:12, 11:17] = 3
    labels[2:18, 6:14, 2:7] = 7
    labels[2:18, 6:14, 21:27] = 7
    labels[10:14, 14:16, 8:10] = 5
    labels[10:13, 14:16, 18:20] = 5
    return labels


ORDERS = {
    "as it is": AXIAL,
    "columns to the right": AXIAL * np.array([1.0, 1.0, -1.0]),
    "slices to the feet": AXIAL * np.array([-1.0, 1.0, 1.0]),
    "sagittal": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "sagittal from the right": np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_left_is_plus_x_whatever_the_axes(name: str) -> None:
    labels = spine()
    source = Volume(labels, AFFINE).oriented(ORDERS[name])
    sides = split_sides(source)
    assert sides.array.dtype == np.uint8
    found = np.argwhere(sides.array > 0)
    x = source.to_patient(found)[:, 0]
    numbers = sides.array[tuple(found.T)]
    middle = -0.5
    for segment in SEGMENTS:
        here = x[numbers == segment.number]
        if segment.side is not None:
            towards = 1 if segment.side == "left" else -1
            assert len(here) > 0
            assert (towards * (here - middle) > 0).all(), segment.label
    assert int((numbers == NUMBER["pm", "left"]).sum()) == 16 * 8 * 6
    assert int((numbers == NUMBER["pm", "right"]).sum()) == 16 * 8 * 5
    assert int((numbers == NUMBER["n4", "left"]).sum()) == 3 * 2 * 2
    assert int((numbers == NUMBER["ivd", None]).sum()) == 5 * 6 * 6
    np.testing.assert_array_equal(sides.array > 0, source.array > 0)


def test_the_midline_leans_with_the_spine() -> None:
    """A curve of 0.2 mm per mm of height: body centroids decide, not the image."""
    labels = np.zeros((60, 12, 60), np.uint8)
    for first, value in ((40, 1), (20, 2), (0, 3)):
        column = 20 + (first + 10) // 5
        labels[first : first + 20, 2:8, column - 5 : column + 6] = value
    volume = Volume(labels, build_affine(AXIAL, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    start, slope = spine_x(volume)
    assert slope == pytest.approx(0.2)
    assert start + slope * 29.5 == pytest.approx(26.0, abs=0.2)


def test_without_bodies_the_middle_of_the_image_divides() -> None:
    labels = np.zeros((4, 4, 10), np.uint8)
    labels[:, :, 1] = labels[:, :, 8] = 7
    start, slope = spine_x(Volume(labels, build_affine(AXIAL, (1, 1, 1), (100.0, 0.0, 0.0))))
    assert (start, slope) == (104.5, 0.0)
