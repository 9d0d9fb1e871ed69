"""Marginal loss: equal to the ordinary one when all is labelled, silent about what is not."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dicomseg.structures import CHANNELS
from training.data.cases import ALL_STRUCTURES
from training.fit.loss import (
    CLASS_WEIGHTS,
    Objective,
    classes_of,
    marginal_log_probabilities,
    marginal_loss,
)

SHAPE = (1, 3, 4, 5)


def logits(seed: int = 0) -> torch.Tensor:
    return torch.randn((1, CHANNELS, *SHAPE[1:]), generator=torch.Generator().manual_seed(seed))


def test_merged_probabilities_sum_to_one() -> None:
    log_p, kept = marginal_log_probabilities(logits(), ("l4", "dura"))
    assert kept == [0, 1, 4]
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(SHAPE))


def test_with_every_structure_labelled_it_is_weighted_cross_entropy_plus_dice() -> None:
    values = logits()
    labels = torch.randint(0, CHANNELS, SHAPE, generator=torch.Generator().manual_seed(3))
    expected = functional.cross_entropy(values, labels, weight=torch.tensor(CLASS_WEIGHTS))
    p = values.softmax(1)
    truth = functional.one_hot(labels, CHANNELS).movedim(-1, 1).float()
    ratio = (2 * (p * truth).sum((0, 2, 3, 4)) + 1) / ((p + truth).sum((0, 2, 3, 4)) + 1)
    present = [c for c in range(1, CHANNELS) if bool((labels == c).any())]
    expected = expected + 1 - ratio[present].mean()
    found = marginal_loss(values, labels, torch.ones(SHAPE), ALL_STRUCTURES)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_an_unlabelled_structure_is_not_pushed_towards_background() -> None:
    values = logits().requires_grad_()
    labels = torch.zeros(SHAPE, dtype=torch.long)
    marginal_loss(values, labels, torch.ones(SHAPE), ("l4", "ivd", "l5", "dura")).backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    p = values.detach().softmax(1)
    share = values.grad[:, 0] / p[:, 0]  # background and psoas are pulled up alike, by their share
    torch.testing.assert_close(values.grad[:, 7] / p[:, 7], share)
    assert bool((values.grad[:, 1] > 0).all())


def test_voxels_outside_the_data_do_not_count() -> None:
    labels = torch.randint(0, CHANNELS, SHAPE, generator=torch.Generator().manual_seed(5))
    valid = torch.ones(SHAPE)
    valid[..., 3:] = 0
    first = logits()
    second = first.clone()
    second[..., 3:] = 100 * torch.randn_like(second[..., 3:])
    a = marginal_loss(first, labels, valid, ALL_STRUCTURES)
    b = marginal_loss(second, labels, valid, ALL_STRUCTURES)
    assert float(a) == pytest.approx(float(b))


def test_a_crop_without_any_labelled_structure_still_has_a_gradient() -> None:
    values = logits().requires_grad_()
    loss = marginal_loss(values, torch.zeros(SHAPE, dtype=torch.long), torch.ones(SHAPE), ("l4",))
    loss.backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert bool(torch.isfinite(values.grad).all())


def test_what_is_not_labelled_counts_as_background() -> None:
    assert classes_of(ALL_STRUCTURES) == list(range(CHANNELS))
    assert classes_of(("l4", "dura")) == [0, 1, 0, 0, 4, 0, 0, 0, 0]


def test_every_channel_needs_a_weight() -> None:
    with pytest.raises(ValueError, match="8 `class_weights`"):
        Objective(class_weights=(1.0,) * (CHANNELS - 1))
