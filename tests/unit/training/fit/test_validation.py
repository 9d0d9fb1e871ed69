"""Loss and Dice of validation cases, by networks whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dicomseg.structures import CHANNELS
from training.data.cases import load_case
from training.fit.augment import window_sample
from training.fit.loss import Objective
from training.fit.validation import validate

ENTROPY_ALONE = Objective(dice=0.0, class_weights=(1.0,) * CHANNELS)


class Same(nn.Module):
    """The same logits everywhere, on the half-resolution grid."""

    def __init__(self, channel: int | None = None) -> None:
        super().__init__()
        self.channel = channel
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, _: Tensor) -> Tensor:
        out = torch.zeros(1, CHANNELS, *(n // 2 for n in image.shape[2:]))
        if self.channel is not None:
            out[:, self.channel] = 9.0
        return out


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(tiny_cases: Path) -> None:
    case = tiny_cases / "phantom" / "phantom-000001.npz"
    assert validate(Same(), [case], ENTROPY_ALONE).loss == pytest.approx(math.log(CHANNELS), 1e-4)


def test_dice_of_one_class_everywhere_is_that_of_its_share(tiny_cases: Path) -> None:
    paths = [tiny_cases / "phantom" / f"phantom-00000{n}.npz" for n in (1, 2)]
    found = validate(Same(1), paths)
    shares = []
    for path in paths:
        labels = window_sample(load_case(path)).labels
        inside = float((labels == 1).sum())
        shares.append(2 * inside / (inside + labels.numel()))
    assert found.dice["l4"] == pytest.approx(sum(shares) / 2)
    assert found.dice["ivd"] == 0.0


def test_a_case_speaks_only_of_what_it_labels(tiny_cases: Path) -> None:
    found = validate(Same(), [tiny_cases / "spider" / "spider-001.npz"])
    assert set(found.dice) == {"l4", "ivd", "l5"}
