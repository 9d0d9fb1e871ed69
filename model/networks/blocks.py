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


class PositionLayer(nn.Sequential):
    """Coordinates to summands of the encoder's features; zero-initialised, so that a new one changes nothing."""

    def __init__(self, hidden: int, outputs: int) -> None:
        last = nn.Conv3d(hidden, outputs, 1, bias=False)
        super().__init__(nn.Conv3d(3, hidden, 1), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
