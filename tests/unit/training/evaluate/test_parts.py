"""Scores of the disc without end plates and of the canal near the disc, beside the strict ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomseg.structures import StructureId
from dicomseg.volume import Array, Volume, build_affine
from training.data.cases import Case, CaseSource
from training.evaluate.parts import end_plates, part_scores
from training.fit.augment import SPACING_MM

SHAPE = (120, 20, 10)
DISC = slice(56, 64)


def case(
    source: CaseSource = "spider", labelled: tuple[StructureId, ...] = ("ivd", "dura")
) -> Case:
    """Return a disc with two unlabelled slices on each side, and behind it a canal as high as the volume."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:54, 2:12], labels[DISC, 2:12], labels[66:100, 2:12] = 3, 2, 1
    labels[:, 14:18, 3:7] = 4
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (0.0, 0.0, 0.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ [59.5, 7.0, 4.5])
    return Case(
        "c", "p", source, np.zeros(SHAPE, np.float32), labels, affine, labelled,
        (x, y, z), (0.0, 0.0, 1.0), {},
    )  # fmt: skip


def scored(made: Case, predicted: Array) -> dict[str, float]:
    found = part_scores(made, Volume(predicted, made.affine), np.ones(SHAPE, bool))
    return {name: score.dice for name, score in found.items()}


def test_what_the_reader_left_unlabelled_between_disc_and_bodies_does_not_count() -> None:
    made = case()
    predicted = made.labels.copy()
    predicted[54:66, 2:12] = 2  # two slices of end plate on each side, taken for disc
    assert scored(made, predicted)["disc without end plates"] == 1.0
    predicted[52:66, 2:12] = 2  # and two of the body below
    assert scored(made, predicted)["disc without end plates"] == pytest.approx(16 / 18)


def test_the_canal_counts_within_35_mm_above_and_below_the_disc() -> None:
    made = case()
    predicted = made.labels.copy()
    near = np.abs(np.arange(120) - 59.5) * SPACING_MM[0] <= 35.0
    assert near.sum() == 88
    predicted[~near, 14:18, 3:7] = 0  # an end where the reader has none
    assert scored(made, predicted)["canal near the disc"] == 1.0
    predicted[16:38, 14:18, 3:7] = 0  # a quarter of what is near
    assert scored(made, predicted)["canal near the disc"] == pytest.approx(2 * 0.75 / 1.75)


def test_a_tilted_disc_takes_the_canal_along_its_normal() -> None:
    tilted = replace(case(), level_normal=(0.0, 0.6, 0.8))
    predicted = tilted.labels.copy()
    i, j = np.ogrid[: SHAPE[0], : SHAPE[1]]
    away = 0.8 * (i - 59.5) * SPACING_MM[0] + 0.6 * (j - 7.0) * SPACING_MM[1]
    predicted[(np.abs(away) > 35.0)[..., None] & (predicted == 4)] = 0
    assert scored(tilted, predicted)["canal near the disc"] == 1.0
    straight = tilted.labels.copy()
    straight[(np.abs(np.arange(SHAPE[0]) - 59.5) * SPACING_MM[0] > 35.0)] = 0
    assert scored(tilted, straight)["canal near the disc"] < 1.0


def test_phantoms_and_what_is_not_labelled_have_no_such_scores() -> None:
    made = case("phantom")
    assert scored(made, made.labels) == {}
    assert list(scored(case(labelled=("dura",)), case().labels)) == ["canal near the disc"]


def column(upper_gap: int, lower_gap: int) -> Array:
    """Return the labels of a body, a disc of eight slices and a body, with so many unlabelled slices between."""
    labels = np.zeros((60, 30, 16), np.uint8)
    for value, first, last in ((3, 4, 24 - lower_gap), (2, 24, 32), (1, 32 + upper_gap, 56)):
        labels[first:last, 6:24, 3:13] = value
    return labels


def slices_of(mask: Array) -> list[int]:
    return sorted(set(np.argwhere(mask)[:, 0].tolist()))


def test_an_unlabelled_strip_is_an_end_plate_as_wide_as_the_bodies() -> None:
    labels = column(2, 1)
    found = end_plates(labels, np.asarray(SPACING_MM))
    assert slices_of(found) == [23, 32, 33]
    assert found[32:34, 6:24, 3:13].all()
    assert not found[labels > 0].any()
    inside = np.zeros(labels.shape, bool)
    inside[:, 5:25, 2:14] = True  # beside the column at most a voxel beyond its walls
    assert not found[~inside].any()


def test_without_a_strip_the_border_of_disc_and_body_is_unclear() -> None:
    found = end_plates(column(0, 2), np.asarray(SPACING_MM))
    assert slices_of(found) == [22, 23, 31, 32]  # two voxels' centres lie within 1.5 mm of both


def test_without_both_bodies_near_the_disc_nothing_is_an_end_plate() -> None:
    labels = column(2, 2)
    alone = np.where(labels == 2, 2, 0).astype(np.uint8)
    assert not end_plates(alone, np.asarray(SPACING_MM)).any()
    found = end_plates(column(9, 1), np.asarray(SPACING_MM))  # 7.2 mm is no end plate
    assert slices_of(found) == [23]
