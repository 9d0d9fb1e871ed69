"""Grey values of the source on any plane, in mm from its point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import map_coordinates

from dicomseg.measure.plane import Raster, to_lps
from dicomseg.result import Plane
from dicomseg.volume import Array, Volume

WINDOW_PERCENT: Final = (1.0, 97.5)
"""Of the grey values in a picture: 99 leaves a T2 page dark because of the fluid."""
GAMMA: Final = 0.85


@dataclass(frozen=True, slots=True)
class Window:
    """Grey values that become black and white."""

    low: float
    high: float


def sample_grey(volume: Volume, plane: Plane, raster: Raster) -> Array:
    """Sample grey values (a, b) float32, trilinear; NaN outside the image."""
    a, b = (
        start + raster.step_mm * np.arange(n)
        for start, n in zip((raster.a_mm, raster.b_mm), raster.shape, strict=True)
    )
    index = volume.to_index(to_lps(plane, np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1)))
    flat = index.reshape(-1, 3).T
    size = np.array(volume.shape)
    low = np.clip(np.floor(flat.min(axis=1)).astype(int) - 2, 0, size - 1)
    high = np.clip(np.ceil(flat.max(axis=1)).astype(int) + 3, low + 1, size)
    box = tuple(slice(int(p), int(q)) for p, q in zip(low, high, strict=True))
    near = np.asarray(volume.array[box], np.float32)
    values = map_coordinates(near, flat - low[:, None], order=1, mode="nearest")
    inside = np.all((flat > -0.5) & (flat < size[:, None] - 0.5), axis=0)
    out: Array = np.where(inside, values, np.nan).reshape(raster.shape)
    return out


def find_window(grey: Array) -> Window:
    """Return the window of a picture; NaN does not count."""
    known = grey[np.isfinite(grey)]
    if known.size == 0:
        return Window(0.0, 1.0)
    low, high = (float(v) for v in np.percentile(known, WINDOW_PERCENT))
    return Window(low, max(high, low + 1e-6))


def to_rgb(grey: Array, window: Window, outside: tuple[int, int, int]) -> Array:
    """Return RGB uint8 (b, a, 3) of grey values (a, b): rows run along b."""
    share = np.clip((grey.T - window.low) / (window.high - window.low), 0, 1) ** GAMMA
    known = np.isfinite(share)
    rgb = np.repeat((np.where(known, share, 0) * 255).astype(np.uint8)[..., None], 3, axis=2)
    rgb[~known] = outside
    return rgb
