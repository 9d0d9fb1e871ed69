"""Implicit surfaces painted into a voxel grid: picture, labels and level fields from one formula.

Every shape is a field f(x, y, z), negative inside, in *anatomy space*: mm, +x left, +y back, +z up,
origin at the centre of the L4/5 disc. Strokes are painted in order and a later one covers an earlier
one, so that each boundary belongs to one surface. Partial volume of a voxel is
clip(0.5 − d/h, 0, 1) with d = f/|∇f| and h the mean voxel edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from dicomseg.volume import Array, Points

KEEP: Final = -1
"""Label of a coat that changes the picture and leaves the label below it."""

CHUNK: Final = 8
"""Slices painted at once: small enough to stay in the processor's cache."""
_NODE_STEP: Final = 4
"""Voxels between the nodes where the way from patient to anatomy space is evaluated exactly;
between them it is linear (error below 0.02 mm for the bends that `anatomy.Bend` draws)."""
_PAD_MM: Final = 1.2
"""Margin of a shape's box: room for partial volume."""
_LEVEL_PAD_MM: Final = 4.0
"""The same with level fields, which reach further."""
_FAR: Final = 1.0e3
_FINE_MM: Final = 0.02
"""Step of the table that painting reads a tube's parameters from."""

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]
ToAnatomy = Callable[[Points], Points]


class Shape(Protocol):
    """A solid in anatomy space."""

    def bounds(self) -> Bounds:
        """Lowest and highest (x, y, z) of the solid in mm."""
        ...

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Implicit function in about mm, negative inside; any broadcastable shape."""
        ...


@runtime_checkable
class Sectioned(Protocol):
    """A long shape that can tell its box between two heights."""

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Box (x low, y low, x high, y high) between two heights in mm."""
        ...


def _union(bounds: Sequence[Bounds]) -> Bounds:
    low = np.min([b[0] for b in bounds], axis=0)
    high = np.max([b[1] for b in bounds], axis=0)
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def smooth_max(a: Array, b: Array, round_mm: float) -> Array:
    """Maximum with its crease rounded over `round_mm`; equals the maximum elsewhere."""
    overlap = np.maximum(round_mm - np.abs(a - b), 0.0)
    return np.maximum(a, b) + overlap * overlap * (0.25 / round_mm)


def rounded(u: Array, v: Array, square: float) -> Array:
    """Size of (u, v) in a norm between the circle (0) and a square with round corners (1)."""
    u2, v2 = u * u, v * v
    round_size = np.sqrt(u2 + v2)
    if not square:
        return np.asarray(round_size)
    return np.asarray((1.0 - square) * round_size + square * np.sqrt(np.sqrt(u2 * u2 + v2 * v2)))


class Tube:
    """A quasi-vertical tube: superellipse sections whose parameters are functions of z.

    knots: rows (z, x, y, half width, half depth, angle in degrees), any order of z; interpolated
    monotonically. square: 0 is an ellipse, 1 a square with round corners. taper: how much narrower
    the back is than the front (0.3 makes a rounded triangle). z outside the knots is outside.
    """

    __slots__ = ("_bounds", "_fine", "_square", "_step", "_table", "_taper", "_z")

    def __init__(self, knots: Points, square: float = 0.0, taper: float = 0.0) -> None:
        from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - 0.1 s, only where tubes are built

        knots = np.asarray(knots, dtype=np.float64)
        knots = knots[np.argsort(knots[:, 0])]
        self._z = (float(knots[0, 0]), float(knots[-1, 0]))
        count = max(int((self._z[1] - self._z[0]) / 0.5) + 2, 3)
        z = np.linspace(*self._z, count)
        self._step = z[1] - z[0]
        values = PchipInterpolator(knots[:, 0], knots[:, 1:])(z)
        values[:, 2:4] = np.maximum(values[:, 2:4], 0.2)
        slope = np.gradient(values[:, :2], self._step, axis=0)
        oblique = np.sqrt(1.0 + (slope**2).sum(axis=1))
        angle = np.deg2rad(values[:, 4])
        size = np.minimum(values[:, 2], values[:, 3]) / oblique
        table = [values[:, :2], 1 / values[:, 2:4], np.cos(angle), np.sin(angle), size]
        self._table = np.column_stack(table)
        fine = np.arange(self._z[0], self._z[1] + _FINE_MM, _FINE_MM)
        self._fine = np.stack([np.interp(fine, z, column) for column in self._table.T]).astype(
            np.float32
        )
        reach = values[:, 2:4].max(axis=1)[:, None] * 1.1
        low, high = (values[:, :2] - reach).min(axis=0), (values[:, :2] + reach).max(axis=0)
        self._bounds: Bounds = ((low[0], low[1], self._z[0]), (high[0], high[1], self._z[1]))
        self._square, self._taper = square, taper

    def bounds(self) -> Bounds:
        """Box of the tube."""
        return self._bounds

    def at(self, z: Array) -> Array:
        """Parameters (7, ...) at heights z: x, y, 1/half width, 1/half depth, cos, sin, size.

        float32 heights are looked up in steps of 0.02 mm (painting), float64 ones interpolated.
        """
        z = np.asarray(z)
        if z.dtype == np.float32:
            place = (z - np.float32(self._z[0])) * np.float32(1 / _FINE_MM)
            np.clip(place, 0, self._fine.shape[1] - 1, out=place)
            return np.stack([np.take(row, place.astype(np.int32)) for row in self._fine])
        place = np.clip((z - self._z[0]) / self._step, 0, len(self._table) - 1.001)
        index = place.astype(np.int32)
        part, table = place - index, self._table.T
        return np.asarray(table[:, index] * (1 - part) + table[:, index + 1] * part)

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Box (x low, y low, x high, y high) of the part between two heights."""
        rows = np.linspace(
            max(z_low, self._z[0]), min(z_high, self._z[1]), max(int((z_high - z_low) / 2), 2)
        )
        p = self.at(rows)
        a, b, c, s = 1 / p[2], 1 / p[3], np.abs(p[4]), np.abs(p[5])
        wide, deep = 1.05 * (a * c + b * s), 1.05 * (a * s + b * c)
        if self._taper:
            wide = wide / (1 - self._taper)
        return (
            float((p[0] - wide).min()),
            float((p[1] - deep).min()),
            float((p[0] + wide).max()),
            float((p[1] + deep).max()),
        )

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Implicit function of the tube."""
        p = self.at(z)
        dx, dy, c, s = x - p[0], y - p[1], p[4], p[5]
        u = (c * dx + s * dy) * p[2]
        v = (c * dy - s * dx) * p[3]
        if self._taper:
            u = u * (1.0 + self._taper * np.clip(v, -1.0, 1.0))
        f = (rounded(u, v, self._square) - 1.0) * p[6]
        return np.asarray(np.maximum(f, np.maximum(z - self._z[1], self._z[0] - z)))


class Capsule:
    """A rod between two points with a radius at each end, flattened along one axis if wanted."""

    __slots__ = ("_a", "_bounds", "_d", "_flat", "_length2", "_r")

    def __init__(
        self,
        start: Sequence[float] | Points,
        stop: Sequence[float] | Points,
        radius_mm: tuple[float, float],
        flat: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        self._flat = np.asarray(flat, dtype=np.float64)
        self._a = np.asarray(start, dtype=np.float64) * self._flat
        self._d = np.asarray(stop, dtype=np.float64) * self._flat - self._a
        self._length2 = max(float(self._d @ self._d), 1e-6)
        self._r = radius_mm
        ends = np.array([start, stop], dtype=np.float64)
        reach = max(radius_mm) / self._flat
        low, high = (ends - reach).min(axis=0), (ends + reach).max(axis=0)
        self._bounds: Bounds = ((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def bounds(self) -> Bounds:
        """Box of the rod."""
        return self._bounds

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Implicit function of the rod."""
        (fx, fy, fz), a, d = self._flat.tolist(), self._a.tolist(), self._d.tolist()
        px, py, pz = x * fx - a[0], y * fy - a[1], z * fz - a[2]
        t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / self._length2, 0.0, 1.0)
        radius = self._r[0] + (self._r[1] - self._r[0]) * t
        distance = np.sqrt((px - t * d[0]) ** 2 + (py - t * d[1]) ** 2 + (pz - t * d[2]) ** 2)
        return np.asarray(distance - radius)


class Ellipsoid:
    """An ellipsoid with axes along x, y, z."""

    __slots__ = ("_centre", "_half")

    def __init__(self, centre: Sequence[float] | Points, half_mm: Sequence[float] | Points) -> None:
        self._centre = tuple(float(v) for v in centre)
        self._half = tuple(float(v) for v in half_mm)

    def bounds(self) -> Bounds:
        """Box of the ellipsoid."""
        low = [c - h for c, h in zip(self._centre, self._half, strict=True)]
        high = [c + h for c, h in zip(self._centre, self._half, strict=True)]
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Implicit function of the ellipsoid."""
        (cx, cy, cz), (a, b, c) = self._centre, self._half
        q = np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2)
        return np.asarray((q - 1.0) * min(a, b, c))


class Union:
    """Several solids as one, with creases filled over `round_mm`."""

    __slots__ = ("_parts", "_round_mm")

    def __init__(self, parts: Sequence[Shape], round_mm: float = 0.0) -> None:
        self._parts, self._round_mm = tuple(parts), round_mm

    def bounds(self) -> Bounds:
        """Box around all parts."""
        return _union([part.bounds() for part in self._parts])

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Implicit function of the union."""
        f = self._parts[0].field(x, y, z)
        for part in self._parts[1:]:
            g = part.field(x, y, z)
            f = -smooth_max(-f, -g, self._round_mm) if self._round_mm else np.minimum(f, g)
        return f


class Without:
    """A solid minus another one."""

    __slots__ = ("_cut", "_solid")

    def __init__(self, solid: Shape, cut: Shape) -> None:
        self._solid, self._cut = solid, cut

    def bounds(self) -> Bounds:
        """Box of the solid before the cut."""
        return self._solid.bounds()

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Implicit function of the difference."""
        return np.maximum(self._solid.field(x, y, z), -self._cut.field(x, y, z))


@dataclass(frozen=True, slots=True)
class Coat:
    """One layer of a stroke: everything deeper than `inset_mm` gets this tissue and label."""

    inset_mm: float
    tissue: str
    label: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Stroke:
    """A shape and what it is painted with, from the outside in."""

    shape: Shape
    coats: tuple[Coat, ...]


@dataclass(frozen=True, slots=True)
class Raster:
    """A voxel grid in patient space: shape (i, j, k) and affine (4, 4) index to LPS mm."""

    shape: tuple[int, int, int]
    affine: Points

    @property
    def spacing_mm(self) -> Points:
        """Voxel edges along (i, j, k)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


class Texture(Protocol):
    """Gives the signal of a tissue in an index box; see `training.mri`."""

    def signal(self, tissue: str, box: tuple[slice, slice, slice]) -> Array | float:
        """Signal per voxel of the box, or one number."""
        ...


@dataclass(slots=True, eq=False)
class Painted:
    """What the painter made: picture, labels and, if asked for, nine level fields."""

    image: Array
    labels: Array
    levels: Array | None


def _hat(count: int) -> tuple[Points, Array]:
    """Node indices along an axis of `count` voxels and the (count, nodes) linear weights."""
    nodes = np.unique(np.append(np.arange(0, count, _NODE_STEP), count - 1)).astype(np.float64)
    weights = np.empty((count, len(nodes)), dtype=np.float32)
    for column in range(len(nodes)):
        unit = np.zeros(len(nodes))
        unit[column] = 1.0
        weights[:, column] = np.interp(np.arange(count), nodes, unit)
    return nodes, weights


def _coordinates(raster: Raster, start: int, stop: int, to_anatomy: ToAnatomy) -> list[Array]:
    """Anatomy x, y, z of every voxel of slices [start, stop), float32."""
    (i, wi), (j, wj), (k, wk) = (_hat(n) for n in (stop - start, *raster.shape[1:]))
    nodes = np.stack(np.meshgrid(i + start, j, k, indexing="ij"), axis=-1)
    lps = nodes @ raster.affine[:3, :3].T + raster.affine[:3, 3]
    where = to_anatomy(lps).astype(np.float32)
    out = []
    for axis in range(3):
        part = np.tensordot(wi, where[..., axis], axes=(1, 0))
        part = np.einsum("jJ,iJK->ijK", wj, part, optimize=True)
        out.append(np.ascontiguousarray(part @ wk.T))
    return out


class _Finder:
    """Index box of a chunk in which a box of anatomy space may lie.

    The way from index to anatomy is taken as linear; what it misses is added to the margin.
    """

    def __init__(self, xyz: list[Array], pad_mm: float) -> None:
        self._shape = xyz[0].shape
        pick = np.ix_(*(np.unique(np.linspace(0, n - 1, 9).astype(int)) for n in self._shape))
        few = np.stack([c[pick] for c in xyz], axis=-1).reshape(-1, 3).astype(np.float64)
        index = np.stack(np.broadcast_arrays(*pick), axis=-1).reshape(-1, 3)
        flat = [n for n in range(3) if self._shape[n] > 1]
        design = np.column_stack([index[:, flat], np.ones(len(index))])
        fit = np.linalg.lstsq(design, few, rcond=None)[0]
        self._pad = pad_mm + 1.3 * float(np.abs(design @ fit - few).max())
        self._axes, self._steps = flat, np.linalg.norm(fit[:-1], axis=1)
        self._inverse, self._origin = np.linalg.pinv(fit[:-1]), fit[-1]
        self._z = (float(few[:, 2].min()) - self._pad, float(few[:, 2].max()) + self._pad)

    def box(self, shape: Shape) -> tuple[slice, slice, slice] | None:
        """Index box, or None where the shape is not in the chunk."""
        low, high = (np.asarray(b) for b in shape.bounds())
        if isinstance(shape, Sectioned):
            za, zb = max(low[2], self._z[0]), min(high[2], self._z[1])
            if za >= zb:
                return None
            x0, y0, x1, y1 = shape.section(za, zb)
            low, high = np.array([x0, y0, za]), np.array([x1, y1, zb])
        low[2], high[2] = max(low[2], self._z[0]), min(high[2], self._z[1])
        if low[2] > high[2]:
            return None
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3)
        at = (corners - self._origin) @ self._inverse
        out = [slice(0, n) for n in self._shape]
        for column, axis in enumerate(self._axes):
            margin = self._pad / self._steps[column]
            start = max(int(np.floor(at[:, column].min() - margin)), 0)
            stop = min(int(np.ceil(at[:, column].max() + margin)) + 1, self._shape[axis])
            if stop <= start:
                return None
            out[axis] = slice(start, stop)
        return out[0], out[1], out[2]


def _distance(f: Array, spacing_mm: Points) -> Array:
    """Divide f by the size of its gradient (floor 0.2): a first-order distance in mm."""
    square = np.full_like(f, 0.04)
    slope2 = np.zeros_like(f)
    for axis, step in enumerate(spacing_mm):
        if f.shape[axis] > 1:
            slope = np.gradient(f, step, axis=axis)
            slope2 += slope * slope
    return np.asarray(f / np.sqrt(np.maximum(slope2, square)))


def _cover(levels: Array, box: tuple[slice, slice, slice], label: int, d: Array) -> None:
    """Constructive geometry: the painted class grows by the solid, every other class loses it."""
    view = levels[(slice(None), *box)]
    own = np.minimum(view[label], d)
    np.maximum(view, -d, out=view)
    view[label] = own


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, CHUNK):
        yield start, min(start + CHUNK, count)


def paint(
    strokes: Sequence[Stroke],
    raster: Raster,
    to_anatomy: ToAnatomy,
    texture: Texture,
    *,
    with_levels: bool = False,
) -> Painted:
    """Paint the strokes in order.

    to_anatomy: LPS points (..., 3) to anatomy points (..., 3), smooth. with_levels: also keep, per
    label value 0…8, the signed distance in mm to the painted class (negative inside).
    """
    image = np.zeros(raster.shape, dtype=np.float32)
    labels = np.zeros(raster.shape, dtype=np.uint8)
    levels = None
    if with_levels:
        levels = np.full((9, *raster.shape), _FAR, dtype=np.float32)
        levels[0] = -_FAR
    edge = float(raster.spacing_mm.mean())
    for start, stop in _chunks(raster.shape[0]):
        xyz = _coordinates(raster, start, stop, to_anatomy)
        finder = _Finder(xyz, _LEVEL_PAD_MM if with_levels else _PAD_MM)
        for stroke in strokes:
            box = finder.box(stroke.shape)
            if box is None:
                continue
            d = _distance(stroke.shape.field(*(c[box] for c in xyz)), raster.spacing_mm)
            place = (slice(box[0].start + start, box[0].stop + start), box[1], box[2])
            for coat in stroke.coats:
                depth = d + np.float32(coat.inset_mm) if coat.inset_mm else d
                cover = np.clip(0.5 - depth / edge, 0.0, 1.0)
                view = image[place]
                view += cover * (texture.signal(coat.tissue, place) - view)
                if coat.label != KEEP:
                    labels[place][depth < 0] = coat.label
                    if levels is not None:
                        _cover(levels, place, coat.label, depth)
    return Painted(image, labels, levels)


def level_fields(strokes: Sequence[Stroke], xyz: Points) -> Points:
    """Nine raw level fields (9, n, m) at anatomy points (n, m, 3) in float64, negative inside.

    The same constructive geometry as `paint`, without dividing by the gradient: only the zero
    contours of the result are distances' zeros.
    """
    x, y, z = (np.ascontiguousarray(xyz[..., a]) for a in range(3))
    levels = np.full((9, *x.shape), _FAR)
    levels[0] = -_FAR
    for stroke in _that_matter(strokes):
        low, high = (np.asarray(b) for b in stroke.shape.bounds())
        near = np.ones(x.shape, dtype=bool)
        for axis, values in enumerate((x, y, z)):
            near &= (values > low[axis] - _PAD_MM) & (values < high[axis] + _PAD_MM)
        if not near.any():
            continue
        rows, columns = (np.flatnonzero(near.any(axis=1 - a)) for a in range(2))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        f = stroke.shape.field(x[box], y[box], z[box])
        label = stroke.coats[0].label
        view = levels[(slice(None), *box)]
        own = np.minimum(view[label], f)
        np.maximum(view, -f, out=view)
        view[label] = own
    return levels


def _that_matter(strokes: Sequence[Stroke]) -> list[Stroke]:
    """Strokes that change labels: background before the first structure does not."""
    first = next((n for n, s in enumerate(strokes) if any(c.label > 0 for c in s.coats)), 0)
    return [s for s in strokes[first:] if s.coats[0].label != KEEP]
