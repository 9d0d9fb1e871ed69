"""Our scores and our loss against MONAI's, on masks that differ by shift, holes and size (ADR 0011)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import ndimage

from dicomseg.structures import BY_ID, CHANNELS, StructureId
from training.data.cases import ALL_STRUCTURES
from training.evaluate.metrics import score
from training.fit.loss import Objective, marginal_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai_metrics = pytest.importorskip("monai.metrics")
    monai_losses = pytest.importorskip("monai.losses")

SPACING = (0.8, 0.75, 0.6)


def _masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(30, 34, 28)), 3)
    truth = np.pad(noise > np.quantile(noise, 0.8), 4)
    moved = ndimage.shift(truth.astype(np.float32), rng.uniform(-1.5, 1.5, 3), order=1) > 0.5
    rough = ndimage.binary_dilation(truth) & (rng.random(truth.shape) < 0.1)
    return truth, moved | rough


def _one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")
def test_dice_and_surface_distances_are_those_of_monai(seed: int) -> None:
    truth, found = _masks(seed)
    ours, pair = score(found, truth, SPACING), (_one_hot(found), _one_hot(truth))
    dice = monai_metrics.compute_dice(*pair, include_background=False)
    hd95 = monai_metrics.compute_hausdorff_distance(*pair, percentile=95, spacing=SPACING)
    assd = monai_metrics.compute_average_surface_distance(*pair, symmetric=True, spacing=SPACING)
    assert ours.dice == pytest.approx(float(dice), abs=1e-6)
    assert ours.hd95_mm == pytest.approx(float(hd95), abs=1e-5)
    assert ours.assd_mm == pytest.approx(float(assd), abs=1e-5)
    assert 0.3 < ours.dice < 0.97


@pytest.mark.parametrize("labelled", [ALL_STRUCTURES, ("l4", "ivd", "l5", "dura")])
def test_the_marginal_loss_is_monais_dice_and_torchs_cross_entropy_on_merged_classes(
    labelled: Sequence[StructureId],
) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(1, CHANNELS, 12, 14, 16, generator=generator)
    labels = torch.randint(0, CHANNELS, (1, 12, 14, 16), generator=generator)
    kept = sorted(BY_ID[name].value for name in labelled)
    merged = [c for c in range(CHANNELS) if c not in kept]
    probabilities = logits.softmax(1)
    p = torch.cat([probabilities[:, merged].sum(1, keepdim=True), probabilities[:, kept]], 1)
    places = torch.zeros(CHANNELS, dtype=torch.long)
    places[kept] = torch.arange(1, len(kept) + 1)
    truth = places[labels]
    dice = monai_losses.DiceLoss(
        include_background=False, to_onehot_y=True, smooth_nr=1.0, smooth_dr=1.0
    )(p, truth[:, None])
    entropy = torch.nn.functional.nll_loss(p.log(), truth)
    ours = marginal_loss(
        logits,
        labels,
        torch.ones(labels.shape),
        labelled,
        Objective(0.7, (1.0,) * CHANNELS),
    )
    assert float(ours) == pytest.approx(float(entropy + 0.7 * dice), rel=1e-5)
