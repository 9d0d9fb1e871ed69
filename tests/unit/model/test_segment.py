"""The one call: stages, findings and confidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomseg.segmentation import NotInView, Segmentation
from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.load import LoadedModel, load_bundle
from model.bundle.write import write_coded_bundle
from model.engines.coded import MARGIN_STEPS, MAX_MARGIN, THIRD_CLASS_GAP, encode_labels
from model.errors import WindowRefused
from model.grid import SPACING_MM
from model.segment import segment


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return load_bundle(write_coded_bundle(tmp_path / "oracle"))


def coded(margin: float = 4.0, *, disc: bool = True) -> Volume:
    labels = np.zeros((40, 60, 56), np.uint8)
    labels[25:35, 14:34, 16:40] = 1
    if disc:
        labels[16:25, 14:34, 17:39] = 2
    labels[6:16, 16:36, 16:40] = 3
    labels[3:38, 37:46, 22:34] = 4
    labels[5:36, 15:40, 2:14] = 7
    labels[5:36, 15:40, 43:54] = 7
    runner_up = np.where(labels == 0, 1, 0).astype(np.uint8)
    array = encode_labels(labels, runner_up, np.full(labels.shape, margin))
    return Volume(array, build_affine(AXIAL, SPACING_MM, (0.0, 0.0, 0.0)), "1.2.3")


def test_the_answer_carries_everything_that_is_written_later(model: LoadedModel) -> None:
    stages: list[str] = []
    volume = coded()
    found = segment(volume, model, stages.append)
    assert isinstance(found, Segmentation)
    assert stages == ["level", "window", "network", "labels"]
    assert set(found.timings_s) == {"level", "window", "network", "labels", "plausibility"}
    assert found.engine == model.info
    assert found.labels.volume.frame_of_reference_uid == "1.2.3"
    assert found.sides.frame_of_reference_uid == "1.2.3"
    assert {f.code for f in found.findings if f.structure == "n4"} == {"outside_image"}
    left, right = (
        found.sides.to_patient(np.argwhere(found.sides.array == number))[:, 0].mean()
        for number in (8, 9)
    )
    assert left > right


def test_confidence_is_the_softmax_of_the_margin(model: LoadedModel) -> None:
    """Best at +h, runner-up at −h, seven others one below it."""
    for margin in (2.0, 5.0):
        found = segment(coded(margin), model)
        assert isinstance(found, Segmentation)
        steps = MARGIN_STEPS - 1
        lead = round(margin / MAX_MARGIN * steps) / steps * MAX_MARGIN
        expected = 1 / (1 + np.exp(-lead) * (1 + 7 * np.exp(-THIRD_CLASS_GAP)))
        assert found.confidence["l4"] == pytest.approx(expected, abs=6e-4)
        assert set(found.confidence) == {"l4", "ivd", "l5", "dura", "pm"}


def test_shifted_outlines_are_measured_and_labels_stay(model: LoadedModel) -> None:
    """A psoas of half margin 1 vanishes from what is measured when it is shifted by −3; all else stays."""
    plain = segment(coded(1.0), model)
    moved = segment(coded(1.0), replace(model, outline_shifts={"pm": -3.0}))
    assert isinstance(plain, Segmentation)
    assert isinstance(moved, Segmentation)
    np.testing.assert_array_equal(moved.labels.volume.array, plain.labels.volume.array)
    assert moved.confidence == plain.confidence
    difference = moved.scores.logits - plain.scores.logits
    np.testing.assert_allclose(difference[7], -3.0, atol=1e-5)
    assert not np.delete(difference, 7, axis=0).any()
    assert (plain.scores.logits.argmax(0) == 7).any()
    assert not (moved.scores.logits.argmax(0) == 7).any()


def test_no_disc_means_not_in_view(model: LoadedModel) -> None:
    assert isinstance(segment(coded(disc=False), model), NotInView)


def test_a_value_that_is_no_number_is_refused(model: LoadedModel) -> None:
    volume = coded()
    array = volume.array.astype(np.float32)
    array[0, 0, 0] = np.nan
    array[0, 0, 1] = -np.inf
    with pytest.raises(WindowRefused, match="2 of 134400"):
        segment(volume.with_array(array), model)


def test_the_same_volume_gives_the_same_answer(model: LoadedModel) -> None:
    first, second = (segment(coded(), model) for _ in range(2))
    assert isinstance(first, Segmentation)
    assert isinstance(second, Segmentation)
    np.testing.assert_array_equal(first.labels.volume.array, second.labels.volume.array)
    np.testing.assert_array_equal(first.scores.logits, second.scores.logits)
    assert first.level == second.level
