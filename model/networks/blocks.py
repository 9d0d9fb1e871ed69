"""Layers that the networks share."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def double_conv(
    inputs: int,
    outputs: int,
    norm: Callable[[int], nn.Module],
    activation: Callable[[], nn.Module],
) -> nn.Sequential:
    """Build two 3³ convolutions, each with its norm and activation; the size stays.

    norm: builds a norm for so many channels. activation: builds an activation.
    """
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [
            nn.Conv3d(i, outputs, 3, padding=1, bias=False),
            norm(outputs),
            activation(),
        ]
    return nn.Sequential(*layers)
