"""Grey values of the source on any plane, in mm from its point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import affine_transform

from dicomseg.measure.plane import Raster, to_lps
from dicomseg.result import Plane
from dicomseg.volume import Array, Volume

WINDOW_PERCENT: Final = (1.0, 97.5)
"""Of the grey values in a picture: 99 leaves a T2 page dark because of the fluid."""
GAMMA: Final = 0.85
_SHADES: Final = (np.linspace(0, 1, 4096) ** GAMMA * 254 + 0.5).astype(np.uint8)
"""255 shades, so that with the colour of the outside there are 256, which a PDF stores in a third of the bytes."""


@dataclass(frozen=True, slots=True)
class Window:
    """Grey values that become black and white."""

    low: float
    high: float


def sample_grey(volume: Volume, plane: Plane, raster: Raster) -> Array:
    """Sample grey values (a, b) float32, trilinear; NaN outside the image."""
    inverse = np.linalg.inv(volume.affine[:3, :3])
    steps = inverse @ np.array([plane.e_left, plane.e_back, plane.normal]).T * raster.step_mm
    start = volume.to_index(to_lps(plane, np.array([raster.a_mm, raster.b_mm])))
    corners = volume.to_index(to_lps(plane, raster.corners_ab))
    size = np.array(volume.shape)
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, size - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 3, low + 1, size)
    box = tuple(slice(int(p), int(q)) for p, q in zip(low, high, strict=True))
    near, shape = volume.array[box], (*raster.shape, 1)
    values = affine_transform(near, steps, start - low, shape, np.float32, 1, "nearest")[..., 0]
    a, b = (np.arange(n) for n in raster.shape)
    for axis in range(3):
        index = start[axis] + steps[axis, 0] * a[:, None] + steps[axis, 1] * b
        values[(index <= -0.5) | (index >= size[axis] - 0.5)] = np.nan
    return np.asarray(values)


def doubled(grey: Array) -> Array:
    """Put cubic midpoints between neighbours along both axes: (n, m) to (2 n − 1, 2 m − 1)."""
    for axis in range(2):
        lines = np.moveaxis(grey, axis, 0)
        wide = np.concatenate([lines[:1], lines, lines[-1:]])
        out = np.empty((2 * len(lines) - 1, *lines.shape[1:]), np.float32)
        out[::2] = lines
        out[1::2] = (9 * (wide[1:-2] + wide[2:-1]) - wide[:-3] - wide[3:]) / 16
        grey = np.moveaxis(out, 0, axis)
    return grey


def find_window(grey: Array) -> Window:
    """Return the window of a picture; NaN does not count."""
    known = grey[np.isfinite(grey)]
    if known.size == 0:
        return Window(0.0, 1.0)
    low, high = (float(v) for v in np.percentile(known, WINDOW_PERCENT))
    return Window(low, max(high, low + 1e-6))


def to_rgb(grey: Array, window: Window, outside: tuple[int, int, int]) -> Array:
    """Return RGB uint8 (b, a, 3) of grey values (a, b): rows run along b."""
    share = np.clip((grey.T - window.low) / (window.high - window.low), 0, 1)
    known = np.isfinite(share)
    shade = (np.where(known, share, 0) * (len(_SHADES) - 1) + 0.5).astype(np.int32)
    rgb = np.repeat(_SHADES[shade][..., None], 3, axis=2)
    rgb[~known] = outside
    return rgb
