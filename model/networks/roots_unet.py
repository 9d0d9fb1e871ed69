"""The roots network: a small U-Net at full resolution, guided by the segmentation network's probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.networks.blocks import double_conv
from model.networks.sizes import RootsArchitecture

_double = partial(
    double_conv,
    norm=partial(nn.BatchNorm3d, momentum=None),
    activation=partial(nn.ReLU, inplace=True),
)


class RootsNet(nn.Module):
    """Image (N, 1, D, H, W) and guidance (N, 9 or 12, D/2, H/2, W/2) to one logit per voxel, (N, 1, D, H, W).

    Axes (slices, rows, columns), every size a multiple of 8. The statistics of its norms are fixed once trained, so
    that a box cut short by the image's border is treated as a complete one.
    """

    def __init__(self, architecture: RootsArchitecture) -> None:
        super().__init__()
        a, (b, c, d) = architecture.width, architecture.deep
        self.architecture = architecture
        self.enter, self.mid = _double(1, a), _double(a + architecture.guidance_count, b)
        self.deep, self.deepest = _double(b, c), _double(c, d)
        self.to_deep, self.to_mid = nn.Conv3d(d, c, 1), nn.Conv3d(c, b, 1)
        self.to_enter = nn.Conv3d(b, a, 1)
        self.up_deep, self.up_mid, self.up_enter = _double(c, c), _double(b, b), _double(a, a)
        self.head = nn.Conv3d(a, 1, 1)

    def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
        """Return the logit of "L4 root"."""
        a = self.enter(image)
        b = self.mid(torch.cat([functional.max_pool3d(a, 2), guidance], 1))
        c = self.deep(functional.max_pool3d(b, 2))
        x = self.deepest(functional.max_pool3d(c, 2))
        x = self.up_deep(c + functional.interpolate(self.to_deep(x), scale_factor=2.0))
        x = self.up_mid(b + functional.interpolate(self.to_mid(x), scale_factor=2.0))
        x = self.up_enter(a + functional.interpolate(self.to_enter(x), scale_factor=2.0))
        logit: Tensor = self.head(x)
        return logit


def build_roots_network(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RootsNet:
    """Build the network from a card's architecture and its weights, ready to infer.

    Raises:
        RuntimeError, TypeError, ValueError: they do not fit each other.
    """
    network = RootsNet(RootsArchitecture.from_dict(dict(architecture)))
    network.load_state_dict(dict(tensors))
    return network.eval()
