"""Exponential moving average (EMA) of weights, which is what gets exported."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_towards(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move weights and statistics of `average` towards `network`'s, in place; whole numbers are copied.

    share: of the way, 0…1. Both are the same architecture; raises ValueError where they differ in number of tensors.
    """
    pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    for mean, now in pairs:
        if mean.is_floating_point():
            mean.lerp_(now, share)
        else:
            mean.copy_(now)
