"""The level network: a small U-Net from a coarse image of the spine to heat maps of its discs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.networks.blocks import double_conv
from model.networks.disc_channels import DISCS
from model.networks.sizes import HEAT_FACTOR

NAME: Final = "level-unet-2"
"""Name of this architecture in a card."""


@dataclass(frozen=True, slots=True)
class LevelArchitecture:
    """Sizes of the level network; written into the bundle's card.

    width: channels at the first level. discs: heat maps. members: networks trained apart, whose mean is the
    prediction: it varies less from training to training, and a counting that they do not share loses its confidence.
    """

    width: int = 16
    discs: int = len(DISCS) + 1
    members: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `card.json`."""
        return {"name": NAME, **asdict(self)}


_double = partial(
    double_conv,
    norm=partial(nn.GroupNorm, 4),
    activation=partial(nn.LeakyReLU, 0.1, inplace=True),
)


class LevelNet(nn.Module):
    """Small U-Net, (N, 1, D, H, W) to heat-map logits (N, discs, D/2, H/2, W) rounded up.

    Axes (slices, rows, columns). The first two strides are (2, 2, 1) for thin slabs; the deepest step sees 100 mm at
    once, so that the sacrum helps to name a disc far above it.
    """

    def __init__(self, architecture: LevelArchitecture) -> None:
        super().__init__()
        b = architecture.width
        self.enter, self.mid, self.deep = _double(1, b), _double(b, 2 * b), _double(2 * b, 4 * b)
        self.deepest, self.context = _double(4 * b, 4 * b), _double(4 * b, 4 * b)
        self.up2, self.up1 = _double(8 * b, 4 * b), _double(6 * b, 2 * b)
        self.head = nn.Conv3d(2 * b, architecture.discs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return heat-map logits on the half grid."""
        a = self.enter(image)
        b = self.mid(functional.max_pool3d(a, HEAT_FACTOR, ceil_mode=True))
        c = self.deep(functional.max_pool3d(b, (2, 2, 1), ceil_mode=True))
        d = self.deepest(functional.max_pool3d(c, (2, 2, 2), ceil_mode=True))
        far = self.context(functional.max_pool3d(d, (2, 2, 2), ceil_mode=True))
        d = d + functional.interpolate(far, size=d.shape[2:])
        x = self.up2(torch.cat([functional.interpolate(d, size=c.shape[2:]), c], 1))
        x = self.up1(torch.cat([functional.interpolate(x, size=b.shape[2:]), b], 1))
        heat: Tensor = self.head(x)
        return heat


class LevelNets(nn.Module):
    """Several `LevelNet`; the logits of their mean heat maps."""

    def __init__(self, members: Sequence[LevelNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return heat-map logits on the half grid."""
        mean = torch.stack([torch.sigmoid(member(image)) for member in self.members]).mean(0)
        return torch.logit(mean, eps=1e-6)


class HeatNet(nn.Module):
    """A level network that ends in heat maps: (N, 1, D, H, W) to the mean of its members' maps, 0…1."""

    def __init__(self, network: LevelNet | LevelNets) -> None:
        super().__init__()
        members = network.members if isinstance(network, LevelNets) else [network]
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return heat maps on the half grid."""
        return torch.stack([torch.sigmoid(member(image)) for member in self.members]).mean(0)


def member_count(tensors: Mapping[str, Any]) -> int:
    """Count the networks that a level finder's weights hold."""
    names = {name.split(".")[1] for name in tensors if name.startswith("members.")}
    return len(names) or 1


def untrained_level_network(architecture: LevelArchitecture) -> LevelNet | LevelNets:
    """Build the network with random weights."""
    if architecture.members == 1:
        return LevelNet(architecture)
    return LevelNets([LevelNet(architecture) for _ in range(architecture.members)])


def build_level_network(
    architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> LevelNet | LevelNets:
    """Build the network from a card's architecture and its weights, ready to infer.

    Raises:
        RuntimeError, TypeError: they do not fit each other.
    """
    values = {k: v for k, v in architecture.items() if k != "name"}
    network = untrained_level_network(LevelArchitecture(**values))
    network.load_state_dict(dict(tensors))
    return network.eval()
