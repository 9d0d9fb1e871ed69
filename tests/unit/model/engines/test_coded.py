"""Label-coded grey values decode to the labels, and the fake engine to logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dicomseg.segmentation import NotInView
from dicomseg.structures import CHANNELS
from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.card import CARD, seal
from model.bundle.load import load_bundle
from model.bundle.load_torch import load_network
from model.bundle.write import write_coded_bundle
from model.engines.coded import (
    MARGIN_STEPS,
    MAX_MARGIN,
    CodedEngine,
    CodedFinder,
    decode_labels,
    decode_logits,
    encode_labels,
)
from model.errors import BundleError
from model.patch import Patch

CLASSES = range(CHANNELS)


def test_every_pair_of_classes_and_every_margin_comes_back() -> None:
    pairs = [(a, b) for a in CLASSES for b in CLASSES if a != b]
    best, runner_up = (np.array(x, np.uint8).reshape(-1, 1, 1) for x in zip(*pairs, strict=True))
    margin = np.linspace(0.2, MAX_MARGIN, 25).reshape(1, 1, -1)
    best, runner_up, margin = (
        np.ascontiguousarray(x) for x in np.broadcast_arrays(best, runner_up, margin)
    )
    coded = encode_labels(best, runner_up, margin)
    assert coded.dtype == np.uint16
    logits = decode_logits(coded)
    order = np.argsort(-logits, axis=0, kind="stable")
    np.testing.assert_array_equal(order[0], best)
    np.testing.assert_array_equal(order[1], runner_up)
    lead = np.sort(logits, axis=0)[-1] - np.sort(logits, axis=0)[-2]
    step = MAX_MARGIN / (MARGIN_STEPS - 1)
    assert np.abs(lead - margin).max() <= step / 2 + 1e-5
    np.testing.assert_array_equal(decode_labels(coded), best)


def test_the_code_fills_sixteen_bits_and_fits_them() -> None:
    assert 2**15 < 9 * 9 * MARGIN_STEPS <= 2**16


def test_a_margin_of_zero_is_still_the_coded_class() -> None:
    """A tie would go to the lower channel; the margin stays where the zero is."""
    best, runner_up = np.full((1, 1, 1), 5, np.uint8), np.full((1, 1, 1), 2, np.uint8)
    logits = decode_logits(encode_labels(best, runner_up, np.zeros((1, 1, 1))))
    assert logits[:, 0, 0, 0].argmax() == 5
    assert 0 < logits[5, 0, 0, 0] - logits[2, 0, 0, 0] < 0.01


def test_a_margin_beyond_the_code_saturates() -> None:
    one = np.ones((1, 1, 1), np.uint8)
    logits = decode_logits(encode_labels(one, one * 2, np.full((1, 1, 1), 50.0)))
    assert logits[1, 0, 0, 0] - logits[2, 0, 0, 0] == pytest.approx(MAX_MARGIN)


def test_a_value_that_is_no_code_is_background() -> None:
    values = np.array([-3.0, 9 * 9 * MARGIN_STEPS, 65535.0]).reshape(3, 1, 1)
    assert (decode_logits(values).argmax(0) == 0).all()


def test_a_volume_without_the_disc_is_not_in_view() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[4:], labels[:2] = 1, 3
    coded = encode_labels(labels, np.zeros_like(labels), np.full(labels.shape, 3.0))
    volume = Volume(coded, build_affine(AXIAL, (1, 1, 1), (0, 0, 0)))
    assert isinstance(CodedFinder().locate(volume), NotInView)


def test_a_card_of_an_earlier_version_names_another_word_for_it(tmp_path: Path) -> None:
    card = {"schema": 1, "name": "oracle", "version": "1", "architecture": {"name": "oracle"}}
    (tmp_path / CARD).write_text(json.dumps(seal(card, tmp_path)))
    model = load_bundle(tmp_path)
    assert isinstance(model.engine, CodedEngine)
    assert model.info.name == "oracle"
    with pytest.raises(BundleError, match="holds no network"):
        load_network(tmp_path)


def test_the_fake_engine_is_a_bundle(tmp_path: Path) -> None:
    model = load_bundle(write_coded_bundle(tmp_path / "new"))
    assert isinstance(model.engine, CodedEngine)
    assert (model.info.name, model.info.engine, model.info.precision) == (
        "label-coded",
        "label_coded",
        "exact",
    )
    assert model.model_errors == {}


SHAPE = (8, 16, 12)


def patch() -> Patch:
    """Values that a network and the fake engine can both read."""
    rng = np.random.default_rng(5)
    best = rng.integers(0, CHANNELS, SHAPE).astype(np.uint8)
    raw = encode_labels(best, ((best + 1) % CHANNELS).astype(np.uint8), rng.uniform(1, 8, SHAPE))
    valid = np.ones(SHAPE, bool)
    valid[:, :, -1] = False
    mean, sd = float(raw[valid].mean()), float(raw[valid].std())
    values = np.where(valid, (raw - mean) / sd, 0).astype(np.float32)
    return Patch(values, valid, np.eye(4), mean, sd)


def test_the_fake_engine_undoes_the_z_score_exactly() -> None:
    given = patch()
    rng = np.random.default_rng(5)
    best = rng.integers(0, CHANNELS, SHAPE)
    found = CodedEngine().run(given).argmax(0)
    np.testing.assert_array_equal(found[given.valid], best[given.valid])
    assert not found[~given.valid].any()
