"""A small software renderer: closed surfaces to an RGB picture, by NumPy and SciPy.

Orthographic, without any state, display or graphics driver: the same bytes in every thread and process. The opaque
layer is a depth buffer with smooth normals, darkened hollows and drawn contours; each translucent part is a layer of
its own, denser at its rim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from dicomseg.draw.raster import rasterise
from dicomseg.draw.surface import Mesh
from dicomseg.volume import Array, Point, Points

Rgb = tuple[float, float, float]

SUPERSAMPLE: Final = 2
_LIGHT: Final = (-0.35, 0.55, 0.76)
_FILL: Final = (0.7, -0.1, 0.7)
_HOLLOWS_MM: Final = ((2.5, 0.055), (8.0, 0.035))
"""Width of the neighbourhood, and darkness per mm behind it."""
_COARSE: Final = 4
"""Hollows are worked out on every fourth pixel."""
_EDGE_MM: Final = 1.6
"""A contour is drawn where the depth bends by more than this between neighbouring pixels."""
_GLASS_EDGE_MM: Final = 4.0
_INKED: Final = 0.35
"""Brightness that is left on a contour."""
_EVENED: Final = 1
"""How often normals are evened out: marching cubes leaves slivers whose normals would show as flecks."""
_GLOSS: Final = (0.22, 0.30)
"""Of opaque surfaces and of glass."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One surface with its colour; components 0…1."""

    mesh: Mesh
    rgb: Rgb


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """An orthographic view.

    axes: (3, 3), rows right, up, towards the viewer, unit LPS vectors. centre_lps: in the middle of the picture.
    half_width_mm: from the middle to the left or right edge. size: (width, height) in pixels.
    """

    axes: Points
    centre_lps: Point
    half_width_mm: float
    size: tuple[int, int]

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return 2 * self.half_width_mm / self.size[0]

    def project(self, lps: Array) -> Points:
        """Convert LPS (..., 3) to x to the right and y down in pixels, and depth in mm towards the viewer."""
        seen = (np.asarray(lps, np.float64) - np.array(self.centre_lps)) @ self.axes.T
        width, height = self.size
        x = seen[..., 0] / self.pixel_mm + width / 2
        y = height / 2 - seen[..., 1] / self.pixel_mm
        return np.stack([x, y, seen[..., 2]], axis=-1)

    def enlarged(self, by: int) -> Camera:
        """Return the same view with `by` times as many pixels along both sides."""
        width, height = self.size
        return Camera(self.axes, self.centre_lps, self.half_width_mm, (width * by, height * by))


def look_from(azimuth_deg: float, elevation_deg: float) -> Points:
    """Return the axes of a view, head up. Azimuth 0 is from the front, 90 from the patient's left."""
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    towards = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def render(
    opaque: Sequence[Part], glass: Sequence[Part], camera: Camera, background: Rgb = (1.0, 1.0, 1.0)
) -> tuple[Array, Array]:
    """Render opaque and translucent parts.

    Returns RGB uint8 (height, width, 3) and the number of the opaque part in every pixel, -1 where there is none.
    """
    big = camera.enlarged(SUPERSAMPLE)
    columns, rows = big.size
    picture = np.empty((3, rows, columns), np.float32)
    picture[:] = np.array(background)[:, None, None]
    depth = np.full((rows, columns), -np.inf, np.float32)
    part = np.full((rows, columns), -1, np.int8)
    layer = _layer(opaque, big, _GLOSS[0])
    if layer is not None:
        depth[layer.box], part[layer.box] = layer.depth, layer.part
        light = 1 - _hollows(layer.depth, big.pixel_mm)[layer.mask]
        light[_contour(layer.depth, layer.part, _EDGE_MM)[layer.mask]] *= _INKED
        for plane, colour in zip(picture, layer.colours(), strict=True):
            plane[layer.box][layer.mask] = colour * light
    for single in glass:
        shell = _layer([single], big, _GLOSS[1])
        if shell is not None:
            _lay_glass(picture[:, *shell.box], depth[shell.box], shell)
    rgb = (np.clip(_reduced(picture), 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(rgb.transpose(1, 2, 0)), part[::SUPERSAMPLE, ::SUPERSAMPLE]


def _reduced(picture: Array) -> Array:
    """Means of `SUPERSAMPLE`² pixels of planes (3, rows, columns)."""
    low = sum(picture[:, n::SUPERSAMPLE] for n in range(1, SUPERSAMPLE)) + picture[:, ::SUPERSAMPLE]
    small = sum(low[..., n::SUPERSAMPLE] for n in range(1, SUPERSAMPLE)) + low[..., ::SUPERSAMPLE]
    mean: Array = small / np.float32(SUPERSAMPLE**2)
    return mean


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What is nearest to the viewer.

    box: the part of the picture that it lies in; depth, part and mask have its shape. lit: (3, pixels of the mask)
    light, gloss and turn of the surface away from the viewer. rgb: (parts, 3) colours.
    """

    box: tuple[slice, slice]
    depth: Array
    part: Array
    mask: Array
    lit: Array
    rgb: Array

    def colours(self) -> list[Array]:
        """Return red, green and blue of the lit surface in the pixels of the mask."""
        part, (light, gloss, _) = self.part[self.mask], self.lit
        return [np.minimum(of_parts[part] * light + gloss, 1.0) for of_parts in self.rgb.T]


def _layer(parts: Sequence[Part], camera: Camera, gloss: float) -> _Layer | None:
    """Draw surfaces in front of one another; None where nothing of them lies in the picture."""
    corners, lit, numbers = [], [], []
    for number, part in enumerate(parts):
        seen = camera.project(part.mesh.vertices_lps)
        of_vertices = _lit(_vertex_normals(part.mesh) @ camera.axes.T, gloss)
        faces = part.mesh.faces
        front = faces[_twice_areas(seen[faces]) < 0]  # y runs down
        corners.append(seen[front])
        lit.append(of_vertices[front])
        numbers.append(np.full(len(front), number, np.int8))
    triangles = np.concatenate(corners) if corners else np.zeros((0, 3, 3))
    box = _box(triangles, camera.size)
    if box is None:
        return None
    triangles[:, :, :2] -= [box[1].start, box[0].start]
    depth, nearest = rasterise(triangles, (box[0].stop - box[0].start, box[1].stop - box[1].start))
    mask = nearest >= 0
    of_pixels = _interpolated(triangles, np.concatenate(lit), nearest[mask], mask)
    part_map = np.full(mask.shape, -1, np.int8)
    part_map[mask] = np.concatenate(numbers)[nearest[mask]]
    rgb = np.array([p.rgb for p in parts], np.float32)
    return _Layer(box, depth, part_map, mask, of_pixels, rgb)


def _box(triangles: Array, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that triangles touch."""
    if len(triangles) == 0:
        return None
    flat = triangles[:, :, :2].reshape(-1, 2)
    low = np.maximum(np.floor(flat.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(flat.max(axis=0)).astype(int) + 1, size)
    if (high <= low).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _twice_areas(triangles: Array) -> Array:
    x, y = triangles[:, :, 0], triangles[:, :, 1]
    area: Array = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (
        y[:, 1] - y[:, 0]
    )
    return area


def _vertex_normals(mesh: Mesh) -> Array:
    """Unit normals (n, 3) of the vertices: the mean of their faces', by area, evened out with their neighbours'."""
    vertices, faces = mesh.vertices_lps.astype(np.float64), mesh.faces
    first, second = (vertices[faces[:, n]] - vertices[faces[:, 0]] for n in (1, 2))
    unit = _gathered(np.cross(first, second), faces, len(vertices))
    for _ in range(_EVENED):
        unit = _gathered(unit[faces].sum(axis=1), faces, len(vertices))
    return unit


def _gathered(of_faces: Array, faces: Array, count: int) -> Array:
    """Unit vectors (vertices, 3) along the sum of the vectors of their faces."""
    corners = faces.ravel()
    sums = [np.bincount(corners, np.repeat(of_faces[:, n], 3), count) for n in range(3)]
    vectors = np.stack(sums, axis=1)
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


def _interpolated(triangles: Array, values: Array, triangle: Array, mask: Array) -> Array:
    """Values (n, pixels) float32 between those of the corners (triangles, 3, n).

    triangle: number in every pixel of the mask. Inside a triangle they are affine in x and y.
    """
    corner = triangles[:, 0, :2]
    first, second = triangles[:, 1, :2] - corner, triangles[:, 2, :2] - corner
    det = first[:, 0] * second[:, 1] - second[:, 0] * first[:, 1]
    to_first, to_second = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    along_x = to_first * (second[:, 1] / det)[:, None] - to_second * (first[:, 1] / det)[:, None]
    along_y = to_second * (first[:, 0] / det)[:, None] - to_first * (second[:, 0] / det)[:, None]
    y, x = (n.astype(np.float32) for n in np.nonzero(mask))
    x -= (corner[:, 0] - 0.5).astype(np.float32)[triangle]
    y -= (corner[:, 1] - 0.5).astype(np.float32)[triangle]
    out = np.empty((values.shape[2], len(triangle)), np.float32)
    for n, (start, slope_x, slope_y) in enumerate(
        zip(values[:, 0].T, along_x.T, along_y.T, strict=True)
    ):
        out[n] = slope_x.astype(np.float32)[triangle] * x
        out[n] += slope_y.astype(np.float32)[triangle] * y
        out[n] += start.astype(np.float32)[triangle]
    return out


def _lit(normals: Array, gloss: float) -> Array:
    """Light, gloss and turn (n, 3) of a surface with these normals in view axes.

    Light is the share of its colour that is seen, gloss is added to it; turn is 0 where it faces the viewer, 1 at its
    rim.
    """
    light = np.array(_LIGHT) / np.linalg.norm(_LIGHT)
    fill = np.array(_FILL) / np.linalg.norm(_FILL)
    half = light + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    cosines = np.clip(normals @ np.stack([light, fill, half], axis=1), 0, 1)
    seen = 0.36 + 0.54 * cosines[:, 0] + 0.20 * cosines[:, 1]
    turn = 1 - np.clip(normals[:, 2], 0, 1)
    lit: Array = np.stack([seen, gloss * cosines[:, 2] ** 32, turn], axis=1)
    return lit


def _hollows(depth: Array, pixel_mm: float) -> Array:
    """Darkness 0…1 where the surface lies behind its neighbourhood."""
    height, width = (n // _COARSE for n in depth.shape)
    blocks = depth[: height * _COARSE, : width * _COARSE]
    coarse = blocks.reshape(height, _COARSE, width, _COARSE).max(axis=(1, 3))
    is_hit = np.isfinite(coarse)
    known = np.where(is_hit, coarse, 0).astype(np.float32)
    dark = np.zeros(coarse.shape, np.float32)
    for width_mm, amount in _HOLLOWS_MM:
        sigma = width_mm / pixel_mm / _COARSE
        mean = ndimage.gaussian_filter(known, sigma, truncate=2.5)
        weight = ndimage.gaussian_filter(is_hit.astype(np.float32), sigma, truncate=2.5)
        dark += np.clip(amount * (mean / np.maximum(weight, 1e-3) - known), 0, 0.42)
    dark = ndimage.gaussian_filter(np.where(is_hit, np.clip(dark, 0, 0.62), 0), 0.8)
    large = np.repeat(np.repeat(dark, _COARSE, axis=0), _COARSE, axis=1)
    rim = [(0, n - m) for n, m in zip(depth.shape, large.shape, strict=True)]
    return np.pad(large, rim, mode="edge")


def _contour(depth: Array, part: Array, bend_mm: float) -> Array:
    """Mask of silhouettes, borders between parts, and steps: where depth bends, not where a face is merely steep."""
    known = np.where(part >= 0, depth, np.float32(-1e3))
    edge = np.zeros(depth.shape, bool)
    edge[:, 1:-1] |= np.abs(known[:, 2:] - 2 * known[:, 1:-1] + known[:, :-2]) > bend_mm
    edge[1:-1] |= np.abs(known[2:] - 2 * known[1:-1] + known[:-2]) > bend_mm
    edge[:, :-1] |= part[:, 1:] != part[:, :-1]
    edge[:-1] |= part[1:] != part[:-1]
    return edge


def _lay_glass(picture: Array, depth: Array, layer: _Layer) -> None:
    """Blend one translucent part over planes (3, rows, columns) of its box, in place, where nothing opaque is in front."""
    is_line = _contour(layer.depth, layer.part, _GLASS_EDGE_MM)[layer.mask]
    turn = layer.lit[2]
    opacity = 0.20 + 0.62 * turn * turn
    opacity[is_line] = 0.85
    opacity[layer.depth[layer.mask] <= depth[layer.mask]] = 0.0
    for plane, colour in zip(picture, layer.colours(), strict=True):
        behind = plane[layer.mask]
        plane[layer.mask] = behind + (colour - behind) * opacity
