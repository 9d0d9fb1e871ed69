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
    width, height = camera.size
    big = camera.enlarged(SUPERSAMPLE)
    shape = (big.size[1], big.size[0])
    picture = np.empty((shape[0] * shape[1], 3), np.float32)
    picture[:] = background
    depth = np.full(shape, -np.inf, np.float32)
    part = np.full(shape, -1, np.int8)
    if opaque:
        layer = _layer(opaque, big)
        depth, part = layer.depth, layer.part
        colour = _shade(layer.normals, layer.colours, 0.22)
        colour *= (1 - _hollows(depth, big.pixel_mm).ravel()[layer.hit])[:, None]
        colour[_contour(depth, part, _EDGE_MM).ravel()[layer.hit]] *= 0.35
        picture[layer.hit] = colour
    for single in glass:
        _lay_glass(picture, depth, _layer([single], big))
    fine = picture.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE, 3)
    rgb = (np.clip(fine.mean(axis=(1, 3)), 0, 1) * 255 + 0.5).astype(np.uint8)
    return rgb, part[::SUPERSAMPLE, ::SUPERSAMPLE]


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What is nearest to the viewer; `hit` are the flat numbers of covered pixels, in which the rest is given."""

    depth: Array
    part: Array
    hit: Array
    normals: Array
    colours: Array


def _layer(parts: Sequence[Part], camera: Camera) -> _Layer:
    corners, normals, numbers = [], [], []
    for number, part in enumerate(parts):
        seen = camera.project(part.mesh.vertices_lps)
        turned = _vertex_normals(part.mesh) @ camera.axes.T
        faces = part.mesh.faces
        front = faces[_twice_areas(seen[faces]) < 0]  # y runs down
        corners.append(seen[front])
        normals.append(turned[front])
        numbers.append(np.full(len(front), number, np.int8))
    triangles = np.concatenate(corners)
    width, height = camera.size
    depth, nearest = rasterise(triangles, (height, width))
    hit = np.flatnonzero(nearest.ravel() >= 0)
    triangle = nearest.ravel()[hit]
    row, column = np.divmod(hit, width)
    smooth = _pixel_normals(triangles, np.concatenate(normals), triangle, column, row)
    of_part = np.concatenate(numbers)[triangle]
    part_map = np.full(height * width, -1, np.int8)
    part_map[hit] = of_part
    colours = np.array([p.rgb for p in parts], np.float32)[of_part]
    return _Layer(depth, part_map.reshape(height, width), hit, smooth, colours)


def _twice_areas(triangles: Array) -> Array:
    x, y = triangles[:, :, 0], triangles[:, :, 1]
    area: Array = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (
        y[:, 1] - y[:, 0]
    )
    return area


def _vertex_normals(mesh: Mesh) -> Array:
    """Unit normals (n, 3) of the vertices: the mean of their faces', by area."""
    vertices, faces = mesh.vertices_lps.astype(np.float64), mesh.faces
    first, second = (vertices[faces[:, n]] - vertices[faces[:, 0]] for n in (1, 2))
    of_faces = np.cross(first, second)
    sums = [
        np.bincount(faces.ravel(), np.repeat(of_faces[:, axis], 3), len(vertices))
        for axis in range(3)
    ]
    normals = np.stack(sums, axis=1)
    unit: Array = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return unit


def _pixel_normals(
    triangles: Array, normals: Array, triangle: Array, column: Array, row: Array
) -> Array:
    """Unit normals (k, 3) float32 in the pixels: inside a triangle they are affine in x and y."""
    corner = triangles[:, 0, :2]
    first, second = triangles[:, 1, :2] - corner, triangles[:, 2, :2] - corner
    det = first[:, 0] * second[:, 1] - second[:, 0] * first[:, 1]
    to_first, to_second = normals[:, 1] - normals[:, 0], normals[:, 2] - normals[:, 0]
    along_x = to_first * (second[:, 1] / det)[:, None] - to_second * (first[:, 1] / det)[:, None]
    along_y = to_second * (first[:, 0] / det)[:, None] - to_first * (second[:, 0] / det)[:, None]
    constant = normals[:, 0] - along_x * corner[:, :1] - along_y * corner[:, 1:]
    out = along_x.astype(np.float32)[triangle] * (column + 0.5).astype(np.float32)[:, None]
    out += along_y.astype(np.float32)[triangle] * (row + 0.5).astype(np.float32)[:, None]
    out += constant.astype(np.float32)[triangle]
    length = np.sqrt(np.einsum("ij,ij->i", out, out))
    smooth: Array = out / np.maximum(length, 1e-6)[:, None]
    return smooth


def _shade(normals: Array, colours: Array, gloss: float) -> Array:
    """Colours (k, 3) of lit faces; normals in view axes."""
    light = np.array(_LIGHT, np.float32) / np.float32(np.linalg.norm(_LIGHT))
    fill = np.array(_FILL, np.float32) / np.float32(np.linalg.norm(_FILL))
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    lit = np.clip(normals @ np.stack([light, fill, half], axis=1), 0, 1)
    out = colours * (0.36 + 0.54 * lit[:, 0] + 0.20 * lit[:, 1])[:, None]
    out += (gloss * lit[:, 2] ** 32)[:, None]
    shaded: Array = np.minimum(out, 1.0)
    return shaded


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
    """Blend one translucent part over the picture (pixels, 3), in place, where nothing opaque is in front."""
    is_seen = layer.depth.ravel()[layer.hit] > depth.ravel()[layer.hit]
    line = _contour(layer.depth, layer.part, _GLASS_EDGE_MM).ravel()[layer.hit][is_seen]
    hit, normals = layer.hit[is_seen], layer.normals[is_seen]
    rim = 1 - np.clip(normals[:, 2], 0, 1)
    opacity = 0.20 + 0.62 * rim * rim
    opacity[line] = 0.85
    share = opacity[:, None]
    picture[hit] = (
        picture[hit] * (1 - share) + _shade(normals, layer.colours[is_seen], 0.30) * share
    )
