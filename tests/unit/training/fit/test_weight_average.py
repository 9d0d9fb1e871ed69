"""The running mean moves by the share asked for and copies what cannot be averaged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.fit.weight_average import move_towards


def test_weights_move_by_the_share_and_counters_are_copied() -> None:
    average, network = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(2))
    before = {k: v.clone() for k, v in average.state_dict().items()}
    network.train()(torch.randn(5, 2))
    now = network.state_dict()
    move_towards(average, network, 0.25)
    for name, mean in average.state_dict().items():
        if mean.is_floating_point():
            torch.testing.assert_close(mean, 0.75 * before[name] + 0.25 * now[name])
        else:
            assert mean == now[name] == 1
    assert not any(p.grad_fn for p in average.parameters())


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        move_towards(nn.Linear(2, 3), nn.Linear(2, 3, bias=False), 0.5)
