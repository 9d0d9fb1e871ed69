"""The 3-D DeepLabv3+ of the paper with isotropic strides: taps at stride 2 and 4, logits at stride 2.

Wang et al., Bioengineering 2023, 10, 963, §2.2: depthwise separable convolutions, a low-level tap at
stride 2, a high-level one at stride 4 that feeds atrous spatial pyramid pooling, a decoder that joins
both, nine channels. Channel counts are not printed there; ours follow from `width`. There is no image
pooling branch: it would see the padding and predict differently for a slab and a full window.

Ours beyond the paper: the network takes each voxel's coordinates from the level as a further input (ADR 0012).
One vertebra looks like the next, and so do their roots; only the level distinguishes them. And a branch at
stride 8 sees further up and down the vessels than the pyramid does (ADR 0018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomseg.structures import CHANNELS
from model.networks.blocks import PositionLayer

NAME: Final = "deeplabv3plus3d"
"""Name of this architecture in a card."""

Norm = Literal["batch", "instance"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the network; written into the bundle's card.

    width: channels of the first convolution.
    dilations: of the pyramid at stride 4, in voxels of that stride.
    decoder: decoder channels as a multiple of `width`.
    norm: "batch" predicts a voxel alike in a small crop, a slab and a full window, because its statistics are fixed
    once trained, and costs nothing in service; "instance" looks at the complete image given.
    separable_stem: False makes the second convolution dense, which then is about an eighth of all work.
    position: hidden channels of the layer that takes each voxel's coordinates; 0 leaves the layer out.
    stem: channels of the first convolution where it is another number than `width`; it alone sees the image at full
    resolution.
    late_tap: the low-level tap also takes the features of the first block, still at stride 2.
    context: channels of the branch at stride 8 that sees further along the body (ADR 0018); 0 leaves it out.
    """

    width: int = 8
    dilations: tuple[int, ...] = (2, 4, 6)
    decoder: int = 6
    norm: Norm = "batch"
    channels: int = CHANNELS
    separable_stem: bool = True
    position: int = 0
    stem: int = 0
    late_tap: bool = False
    context: int = 0

    def __post_init__(self) -> None:
        """Check that background and structures have a channel each: cards hold the number."""
        if self.channels != CHANNELS:
            raise ValueError(f"{self.channels} channels; background and structures are {CHANNELS}")

    @property
    def entry(self) -> int:
        """Return the channels of the first convolution."""
        return self.stem or self.width

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `card.json`."""
        return {"name": NAME, **asdict(self), "dilations": list(self.dilations)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Invert `to_dict`.

        Raises:
            TypeError: an unknown key.
            ValueError: another architecture, an unknown norm or another number of channels.
        """
        if values.get("name", NAME) != NAME:
            raise ValueError(f"architecture {values['name']!r} is not {NAME!r}")
        fields = {k: v for k, v in values.items() if k != "name"}
        if "norm" not in fields and fields.get("groups") == 0:
            fields = {k: v for k, v in fields.items() if k != "groups"} | {"norm": "instance"}
        if fields.get("norm", "batch") not in get_args(Norm):
            raise ValueError(f"norm {fields['norm']!r} is not known; known are {get_args(Norm)}")
        return cls(**{**fields, "dilations": tuple(fields.get("dilations", ()))})


def _norm(architecture: Architecture, channels: int) -> nn.Module:
    if architecture.norm == "batch":
        return nn.BatchNorm3d(
            channels, momentum=None
        )  # the mean over the steps that saw statistics
    return nn.InstanceNorm3d(channels, affine=True)


class _Conv(nn.Sequential):
    """Dense 3³ convolution, norm, ReLU."""

    def __init__(
        self, architecture: Architecture, inputs: int, outputs: int, stride: int = 1
    ) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            _norm(architecture, outputs),
            nn.ReLU(inplace=True),
        )


class SeConv(nn.Sequential):
    """Depthwise separable convolution: depthwise 3³, norm, pointwise, norm, ReLU."""

    def __init__(
        self,
        architecture: Architecture,
        inputs: int,
        outputs: int,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv3d(
                inputs,
                inputs,
                3,
                stride=stride,
                padding=dilation,
                dilation=dilation,
                groups=inputs,
                bias=False,
            ),
            _norm(architecture, inputs),
            nn.Conv3d(inputs, outputs, 1, bias=False),
            _norm(architecture, outputs),
            nn.ReLU(inplace=True),
        )


class _Block(nn.Module):
    """Three separable convolutions with a shortcut; the last one carries stride or dilation."""

    def __init__(
        self,
        architecture: Architecture,
        inputs: int,
        outputs: int,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            SeConv(architecture, inputs, outputs),
            SeConv(architecture, outputs, outputs),
            SeConv(architecture, outputs, outputs, stride=stride, dilation=dilation),
        )
        self.shortcut = nn.Conv3d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(x), x)

    def inner(self, x: Tensor) -> Tensor:
        """Return the features of the first two convolutions, before stride or dilation."""
        features: Tensor = self.body[1](self.body[0](x))
        return features

    def last(self, inner: Tensor, x: Tensor) -> Tensor:
        """Return the block's output from `inner` and the block's input."""
        total: Tensor = self.body[2](inner) + self.shortcut(x)
        return total


class _Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: pointwise branch and one separable branch per dilation."""

    def __init__(self, architecture: Architecture, inputs: int, outputs: int) -> None:
        super().__init__()
        point = nn.Sequential(
            nn.Conv3d(inputs, outputs, 1, bias=False),
            _norm(architecture, outputs),
            nn.ReLU(inplace=True),
        )
        atrous = (SeConv(architecture, inputs, outputs, dilation=d) for d in architecture.dilations)
        self.branches = nn.ModuleList([point, *atrous])
        self.join = nn.Sequential(
            nn.Conv3d(outputs * len(self.branches), outputs, 1, bias=False),
            _norm(architecture, outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return joined


class Context(nn.Module):
    """A view at stride 8 added to the encoder's features; zero-initialised, so that a new one changes nothing.

    An artery beside a vein, both without signal, differs from it in where each comes from and leads to.
    """

    def __init__(self, architecture: Architecture, inputs: int) -> None:
        super().__init__()
        channels = architecture.context
        self.down = SeConv(architecture, inputs, channels, stride=2)
        self.blocks = nn.Sequential(
            _Block(architecture, channels, channels),
            _Block(architecture, channels, channels, dilation=2),
        )
        self.out = nn.Conv3d(channels, inputs, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features at stride 4, any size, with those of stride 8 added."""
        coarse = self.out(self.blocks(self.down(x)))
        fine = functional.interpolate(
            coarse, scale_factor=2.0, mode="trilinear", align_corners=False
        )
        # An odd number of voxels at stride 4 comes back as one more.
        return x + fine[:, :, : x.shape[2], : x.shape[3], : x.shape[4]]


class DeepLabV3Plus3D(nn.Module):
    """Image (N, 1, D, H, W) to logits (N, channels, D/2, H/2, W/2); every size a multiple of 4.

    Axes (slices, rows, columns).
    Logit voxel n is centred between image voxels 2n and 2n + 1, so ×2 upsampling with
    `align_corners=False` brings it back onto the image grid.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        b, head = architecture.width, architecture.width * architecture.decoder
        entry = architecture.entry
        tapped = 2 * entry + (4 * b if architecture.late_tap else 0)
        self.architecture = architecture
        second = SeConv if architecture.separable_stem else _Conv
        self.stem = nn.Sequential(
            _Conv(architecture, 1, entry, stride=2), second(architecture, entry, 2 * entry)
        )
        self.low = nn.Sequential(
            nn.Conv3d(tapped, 3 * b, 1, bias=False),
            _norm(architecture, 3 * b),
            nn.ReLU(inplace=True),
        )
        self.encoder = nn.Sequential(
            _Block(architecture, 2 * entry, 4 * b, stride=2),
            _Block(architecture, 4 * b, 8 * b),
            _Block(architecture, 8 * b, 16 * b),
            _Block(architecture, 16 * b, 16 * b, dilation=2),
        )
        self.position = (
            PositionLayer(architecture.position, 4 * b) if architecture.position else None
        )
        self.context = Context(architecture, 16 * b) if architecture.context else None
        self.pyramid = _Pyramid(architecture, 16 * b, head)
        self.decoder = nn.Sequential(
            SeConv(architecture, head + 3 * b, head),
            SeConv(architecture, head, head),
            nn.Conv3d(head, architecture.channels, 1),
        )

    def forward(self, image: Tensor, coordinates: Tensor | None = None) -> Tensor:
        """Return logits of background and structures at half resolution.

        coordinates: (N, 3, D/4, H/4, W/4) of `coordinate_channels`; only for a network with `position`.
        """
        low = self.stem(image)
        first = cast("_Block", self.encoder[0])
        inner = first.inner(low)
        high = first.last(inner, low)
        if self.position is not None:
            high = high + self.position(coordinates)
        high = self.encoder[1:](high)
        if self.context is not None:
            high = self.context(high)
        high = self.pyramid(high)
        high = functional.interpolate(high, scale_factor=2.0, mode="trilinear", align_corners=False)
        tap = torch.cat([low, inner], dim=1) if self.architecture.late_tap else low
        logits: Tensor = self.decoder(torch.cat([high, self.low(tap)], dim=1))
        return logits
