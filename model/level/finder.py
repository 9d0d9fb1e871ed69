"""Find the L4/5 disc: heat maps of the discs on a coarse grid, whose peaks `model.level.counting` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor, nn
from torch.nn import functional

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import AXIAL, Array, Volume
from model.level.counting import (
    DISCS,
    LEAST_PEAK,
    Candidate,
    Chain,
    best_chain,
    level_from,
    usual_size,
)

GRID_MM: Final = (3.0, 3.0, 4.0)
"""Slices, rows, columns of the search grid; a 14 mm slab still has four columns."""
HEAT_FACTOR: Final = (2, 2, 1)
"""Search-grid voxels per heat-map voxel."""
HEAT_SIGMA_MM: Final = 6.0
MOST_WIDTH_MM: Final = 144.0
"""Columns searched, about the middle of the image: a spine lies nearer to it than this half width."""
CANDIDATES: Final = 14


@dataclass(frozen=True, slots=True)
class LevelArchitecture:
    """Sizes of the level network; written into the bundle's card.

    members: networks trained apart, whose mean is the answer: it varies less from training to training, and a
    counting that they do not share loses its confidence.
    """

    width: int = 16
    discs: int = len(DISCS) + 1
    members: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `card.json`."""
        return {"name": "level-unet-2", **asdict(self)}


@dataclass(frozen=True, slots=True, eq=False)
class HeatMaps:
    """One map per channel, (channels, i, j, k) in 0…1, and the grid they lie on."""

    maps: Array
    grid: Volume


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [
            nn.Conv3d(i, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(4, outputs),
            nn.LeakyReLU(0.1, inplace=True),
        ]
    return nn.Sequential(*layers)


class LevelNet(nn.Module):
    """Small U-Net, (N, 1, D, H, W) to heat-map logits (N, discs, D/2, H/2, W) rounded up.

    The first two strides are (2, 2, 1) for thin slabs; the deepest step sees 100 mm at once, so that
    the sacrum helps to name a disc far above it.
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


def level_members(tensors: Mapping[str, Any]) -> int:
    """How many networks a finder's weights hold."""
    names = {name.split(".")[1] for name in tensors if name.startswith("members.")}
    return len(names) or 1


def untrained(architecture: LevelArchitecture) -> LevelNet | LevelNets:
    """Build the network, untrained."""
    if architecture.members == 1:
        return LevelNet(architecture)
    return LevelNets([LevelNet(architecture) for _ in range(architecture.members)])


class LevelFinder(Protocol):
    """Whatever can answer where L4/5 is in a volume."""

    def locate(self, volume: Volume) -> Level | NotInView:
        """Answer for one volume."""
        ...


def coarse(volume: Volume, grid_mm: tuple[float, float, float] = GRID_MM) -> Volume:
    """Average a volume onto the search grid along its own axes, axial order; grey values robustly z-scored."""
    turned = volume.oriented(AXIAL)
    size = [
        max(1, round(n * s / g))
        for n, s, g in zip(turned.shape, turned.spacing_mm, grid_mm, strict=True)
    ]
    array = torch.from_numpy(np.array(turned.array, dtype=np.float32))[None, None]
    small = functional.interpolate(array, size=size, mode="area")[0, 0].numpy()
    affine = turned.affine.copy()
    ratio = np.array(turned.shape) / np.array(size)
    affine[:3, :3] = turned.affine[:3, :3] * ratio
    affine[:3, 3] = turned.to_patient((ratio - 1) / 2)
    return Volume(scored(small), affine, volume.frame_of_reference_uid)


def middle_columns(grid: Volume, most_mm: float = MOST_WIDTH_MM) -> Volume:
    """Keep at most `most_mm` about the middle column."""
    width = grid.shape[2]
    kept = min(width, round(most_mm / grid.spacing_mm[2]))
    first = (width - kept) // 2
    return grid.box((0, 0, first), (*grid.shape[:2], first + kept))


def scored(array: Array) -> Array:
    """Clip to the 1st–99th percentile and z-score."""
    low, high = np.percentile(array, [1, 99])
    clipped = np.clip(array, low, max(high, low + 1e-6))
    return np.asarray(
        (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6), dtype=np.float32
    )


def candidates(heat: Array, grid: Volume) -> list[Candidate]:
    """Places that look like any disc, from below upwards; `grid` is the grid of the heat maps."""
    best = heat.max(axis=0)
    local = (best == maximum_filter(best, size=(3, 3, 3))) & (best >= LEAST_PEAK)
    peaks = sorted(zip(*np.nonzero(local), strict=True), key=lambda p: -best[p])[:CANDIDATES]
    found = []
    for peak in peaks:
        box = tuple(slice(max(0, int(p) - 2), int(p) + 3) for p in peak)
        weight = best[box] ** 2
        index = np.stack(
            np.meshgrid(
                *(np.arange(s.start, s.start + n) for s, n in zip(box, weight.shape, strict=True)),
                indexing="ij",
            ),
            axis=-1,
        )
        centre = (index * weight[..., None]).sum((0, 1, 2)) / weight.sum()
        near = tuple(slice(max(0, int(p) - 1), int(p) + 2) for p in peak)
        found.append(
            Candidate(grid.to_patient(centre), heat[(slice(None), *near)].max(axis=(1, 2, 3)))
        )
    return sorted(found, key=lambda c: float(c.centre_lps[2]))


class NetworkFinder:
    """The shipped level finder."""

    def __init__(self, network: LevelNet | LevelNets) -> None:
        # Together, and with the channels last: less than half the time of one image after the other.
        self._network = network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def heat(self, grid: Volume) -> HeatMaps:
        """Heat maps 0…1 of a search grid, with their own geometry: the mean of the image's and its mirror image's.

        A disc has no side, and both were drawn alike in training.
        """
        image = torch.from_numpy(np.array(grid.array))[None, None]
        with torch.inference_mode():
            seen, mirrored = torch.sigmoid(self._network(torch.cat([image, image.flip(-1)])))
            mean = (seen + mirrored.flip(-1)) / 2
        maps = np.ascontiguousarray(mean.numpy())
        factor = np.array(HEAT_FACTOR)
        affine = grid.affine.copy()
        affine[:3, :3] = grid.affine[:3, :3] * factor
        affine[:3, 3] = grid.to_patient((factor - 1) / 2)
        return HeatMaps(maps, Volume(maps[0], affine))

    def chain(self, volume: Volume) -> Chain:
        """The named discs of a volume.

        A spine of unusual size is looked at again in the usual one; the counting with the larger lead stands.
        """
        first = self._seen(volume, 1.0)
        factor = usual_size(first)
        if factor == 1.0:
            return first
        return max(first, self._seen(volume, factor), key=lambda chain: chain.margin)

    def _seen(self, volume: Volume, factor: float) -> Chain:
        """The named discs of a volume that is shown so many times as large."""
        shown = Volume(volume.array, volume.affine @ np.diag([factor, factor, factor, 1.0]))
        heat = self.heat(middle_columns(coarse(shown)))
        back = volume.affine @ np.linalg.inv(shown.affine)
        return best_chain(candidates(heat.maps, Volume(heat.maps[0], back @ heat.grid.affine)))

    def locate(self, volume: Volume) -> Level | NotInView:
        """Answer for one volume."""
        return level_from(self.chain(volume))


def load_finder(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> NetworkFinder:
    """Build the finder from a bundle's card and weights; raises RuntimeError or TypeError when they do not fit."""
    values = {k: v for k, v in architecture.items() if k != "name"}
    network = untrained(LevelArchitecture(**values))
    network.load_state_dict(dict(tensors))
    return NetworkFinder(network)


def find(volume: Volume, finder: LevelFinder) -> Level | NotInView:
    """Find L4/5 in a volume of any orientation: LPS centre, normal to the head, confidence, warnings."""
    return finder.locate(volume)
