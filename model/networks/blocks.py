"""Layers that the networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dicomseg.structures import CHANNELS


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


def join_channels(logits: Tensor, joined: Sequence[int]) -> Tensor:
    """Return logits (N, CHANNELS, …) in which each further channel's probability is added to the one it is joined to.

    logits: (N, CHANNELS + len(joined), …).
    """
    if not joined:
        return logits
    parts = []
    for channel in range(CHANNELS):
        members = [channel, *(CHANNELS + n for n, to in enumerate(joined) if to == channel)]
        own = [logits[:, c : c + 1] for c in members]
        parts.append(torch.logsumexp(torch.cat(own, 1), 1, keepdim=True) if own[1:] else own[0])
    return torch.cat(parts, dim=1)
