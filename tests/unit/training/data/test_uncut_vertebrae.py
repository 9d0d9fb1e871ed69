from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import pytest

from training.data.uncut_vertebrae import complete
from training.evaluate.metrics import dice

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


def vertebrae() -> np.ndarray:
    """Bodies 40 × 30 × 24, a gap of 8, canal behind (y 40…55), arches behind and beside it; +y is back, +z up."""
    labels = np.zeros((60, 90, 80), np.uint8)
    labels[10:50, 8:38, 8:32] = 3
    labels[10:50, 8:38, 40:64] = 1
    for value, z in ((3, 14), (1, 46)):
        labels[14:46, 38:70, z : z + 12] = value
    labels[20:40, 40:55, :] = 4
    return labels


def test_the_gap_becomes_the_disc_and_what_lies_behind_the_canals_front_the_arch() -> None:
    done = complete(vertebrae(), AFFINE)
    assert done is not None
    disc = np.argwhere(done == 2)
    assert disc.min(axis=0).tolist() == pytest.approx([10, 8, 32], abs=1)
    assert disc.max(axis=0).tolist() == pytest.approx([49, 37, 39], abs=2)
    assert len(disc) == pytest.approx(40 * 30 * 8, rel=0.08)
    for body, arch in ((1, 51), (3, 53)):
        assert np.argwhere(done == body)[:, 1].max() <= 40
        assert np.argwhere(done == arch)[:, 1].min() >= 40
    assert (done[20:40, 40:55] == 4).all()


@pytest.mark.parametrize("absent", [1, 3, 4])
def test_without_a_vertebra_or_the_canal_nothing_is_derived(absent: int) -> None:
    labels = vertebrae()
    labels[labels == absent] = 0
    assert complete(labels, AFFINE) is None


def test_vertebrae_far_apart_have_no_disc() -> None:
    labels = vertebrae()
    labels[:, :40, 40:60] = 0
    assert complete(labels, AFFINE) is None


@pytest.mark.shared
def test_a_map_with_known_bodies_and_disc_comes_out_alike(shared: Path) -> None:
    file = shared / "data" / "vessels_psoas" / "ts_s0001.labels.nii.gz"
    image = cast("Any", nibabel.load(file))
    known = np.asarray(image.dataobj).astype(np.uint8)
    whole = np.where(known == 51, 1, np.where(known == 53, 3, np.where(known == 2, 0, known)))
    done = complete(whole.astype(np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
    assert done is not None
    for value, least in ((1, 0.94), (2, 0.84), (3, 0.89)):
        assert dice(done == value, known == value) > least
