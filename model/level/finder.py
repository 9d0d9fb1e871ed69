"""Find the L4/5 disc: heat maps of the discs on a coarse grid, whose peaks `model.level.counting` names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from scipy.ndimage import maximum_filter

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import AXIAL, Array, Volume
from model.level.counting import (
    MIN_PEAK,
    Candidate,
    Chain,
    best_chain,
    level_from_chain,
    scale_to_usual_size,
)
from model.networks.sizes import HEAT_FACTOR

GRID_MM: Final = (3.0, 3.0, 4.0)
"""Slices, rows, columns of the search grid; a 14 mm slab still has four columns."""
HEAT_SIGMA_MM: Final = 6.0
"""Standard deviation of a disc's bump in the heat maps that the network is trained on."""
MIN_GRID: Final = (9, 9, 3)
"""Slices, rows, columns that the network sees at least, the border repeated: it halves them until one is left."""
MAX_WIDTH_MM: Final = 144.0
"""Columns searched, about the middle of the image: a spine lies nearer to it than this half width."""
MAX_CANDIDATES: Final = 14
"""Highest peaks that are counted; a lumbar spine shows at most eight discs."""


@dataclass(frozen=True, slots=True, eq=False)
class HeatMaps:
    """One map per channel, (channels, i, j, k) in 0…1, and the grid they lie on."""

    maps: Array
    grid: Volume


class LevelFinder(Protocol):
    """Locates L4/5 in a volume of any orientation."""

    def locate(self, volume: Volume) -> Level | NotInView:
        """Return the level (LPS mm, normal to the head, confidence, warnings), or why it is not in view."""
        ...


def search_grid(volume: Volume, grid_mm: tuple[float, float, float] = GRID_MM) -> Volume:
    """Average a volume onto the search grid along its own axes in axial order, z-scored robustly.

    grid_mm: slices, rows, columns.
    """
    axial = volume.oriented(AXIAL)
    size = [
        max(1, round(n * s / g))
        for n, s, g in zip(axial.shape, axial.spacing_mm, grid_mm, strict=True)
    ]
    small = area_means(np.asarray(axial.array, np.float32), size)
    affine = axial.affine.copy()
    ratio = np.array(axial.shape) / np.array(size)
    affine[:3, :3] = axial.affine[:3, :3] * ratio
    affine[:3, 3] = axial.to_patient((ratio - 1) / 2)
    return Volume(robust_z_score(small), affine, volume.frame_of_reference_uid)


def area_means(array: Array, size: Sequence[int]) -> Array:
    """Return the means of `size` boxes that cover an array (i, j, k), float32; neighbours may share a voxel.

    Box n of m along an axis of length l begins at ⌊n·l/m⌋ and ends before ⌈(n+1)·l/m⌉.
    """
    means = array
    for axis, count in enumerate(size):
        length = array.shape[axis]
        box, voxel = np.arange(count)[:, None], np.arange(length)
        inside = (voxel >= box * length // count) & (voxel < -(-(box + 1) * length // count))
        weights = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
        means = np.moveaxis(np.tensordot(weights, means, (1, axis)), 0, axis)
    return np.ascontiguousarray(means)


def middle_columns(grid: Volume, max_mm: float = MAX_WIDTH_MM) -> Volume:
    """Keep at most `max_mm` about the middle column."""
    width = grid.shape[2]
    kept = min(width, round(max_mm / grid.spacing_mm[2]))
    first = (width - kept) // 2
    return grid.box((0, 0, first), (*grid.shape[:2], first + kept))


def robust_z_score(array: Array) -> Array:
    """Clip to the 1st–99th percentile and z-score; float32."""
    low, high = np.percentile(array, [1, 99])
    clipped = np.clip(array, low, max(high, low + 1e-6))
    return np.asarray(
        (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6), dtype=np.float32
    )


def disc_candidates(heat: Array, grid: Volume) -> list[Candidate]:
    """Return the peaks that look like any disc, from below upwards.

    heat: (channels, i, j, k) in 0…1. grid: of the heat maps.
    """
    best = heat.max(axis=0)
    local = (best == maximum_filter(best, size=(3, 3, 3))) & (best >= MIN_PEAK)
    peaks = sorted(zip(*np.nonzero(local), strict=True), key=lambda p: -best[p])[:MAX_CANDIDATES]
    discs = []
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
        discs.append(
            Candidate(grid.to_patient(centre), heat[(slice(None), *near)].max(axis=(1, 2, 3)))
        )
    return sorted(discs, key=lambda c: float(c.centre_lps[2]))


InferHeat = Callable[[Array], Array]
"""Images (2, 1, D, H, W) float32 to heat maps (2, discs, D/2, H/2, W) in 0…1, rounded up."""


class NetworkFinder:
    """The shipped level finder: one network, or several, and counting."""

    def __init__(self, infer: InferHeat) -> None:
        self._infer = infer

    def heat(self, grid: Volume) -> HeatMaps:
        """Return heat maps 0…1 of a search grid with their own geometry: mean of the image's and its mirror image's.

        A disc has no side, and both were sampled alike in training. Together they take less time than one after the
        other.
        """
        image = np.asarray(grid.array, np.float32)
        short = [(0, max(0, least - n)) for n, least in zip(image.shape, MIN_GRID, strict=True)]
        both = [np.pad(each, short, "edge") for each in (image, image[..., ::-1])]
        size = [-(-n // f) for n, f in zip(image.shape, HEAT_FACTOR, strict=True)]
        direct, mirrored = self._infer(np.stack(both)[:, None])[
            ..., : size[0], : size[1], : size[2]
        ]
        maps = np.ascontiguousarray((direct + mirrored[..., ::-1]) / 2)
        factor = np.array(HEAT_FACTOR)
        affine = grid.affine.copy()
        affine[:3, :3] = grid.affine[:3, :3] * factor
        affine[:3, 3] = grid.to_patient((factor - 1) / 2)
        return HeatMaps(maps, Volume(maps[0], affine))

    def chain(self, volume: Volume) -> Chain:
        """Return the named discs of a volume.

        A spine of unusual size is searched again in the usual one; the counting with the larger lead is taken.
        """
        chain = self._chain_at(volume, 1.0)
        factor = scale_to_usual_size(chain)
        if factor == 1.0:
            return chain
        return max(chain, self._chain_at(volume, factor), key=lambda c: c.margin)

    def _chain_at(self, volume: Volume, factor: float) -> Chain:
        """Return the named discs of a volume that is enlarged by `factor` for the network."""
        enlarged = Volume(volume.array, volume.affine @ np.diag([factor, factor, factor, 1.0]))
        heat = self.heat(middle_columns(search_grid(enlarged)))
        back = volume.affine @ np.linalg.inv(enlarged.affine)
        return best_chain(disc_candidates(heat.maps, Volume(heat.maps[0], back @ heat.grid.affine)))

    def locate(self, volume: Volume) -> Level | NotInView:
        """Return the level, or why it is not in view."""
        return level_from_chain(self.chain(volume))
