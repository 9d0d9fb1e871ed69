"""Paint implicit surfaces into a voxel grid: picture, labels and level fields from one formula.

Every shape is a field f(x, y, z), negative inside, in *anatomy space*: mm, +x left, +y back, +z up,
origin at the centre of the L4/5 disc. Strokes are painted in order and a later one covers an earlier
one, so that each boundary belongs to one surface. Partial volume of a voxel is
clip(0.5 − d/h, 0, 1) with d = f/|∇f| and h the mean voxel edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from dicomseg.volume import Array, Points
from training.phantom.solids import Sectioned, Shape

KEEP: Final = -1
"""Label of a coat that changes the picture and leaves the label below it."""

CHUNK: Final = 8
"""Slices painted at once: small enough to stay in the processor's cache."""
_NODE_STEP: Final = 4
"""Voxels between the nodes where the transform from patient to anatomy space is evaluated exactly;
between them it is linear (error below 0.02 mm for the bends that `scene.build_patient_pose` draws)."""
_PAD_MM: Final = 1.2
"""Margin of a shape's box: room for partial volume."""
_LEVEL_PAD_MM: Final = 4.0
"""The same with level fields, which reach further."""
_FAR: Final = 1.0e3

ToAnatomy = Callable[[Points], Points]


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
    """Gives the signal of a tissue in an index box; see `training.phantom.mri`."""

    def signal(self, tissue: str, box: tuple[slice, slice, slice]) -> Array | float:
        """Return the signal per voxel of the box, or one number."""
        ...


@dataclass(slots=True, eq=False)
class Painted:
    """What the painter made: picture, labels and, if asked for, nine level fields."""

    image: Array
    labels: Array
    levels: Array | None


def _hat(count: int) -> tuple[Points, Array]:
    """Return the node indices along an axis of `count` voxels and the (count, nodes) linear weights."""
    nodes = np.unique(np.append(np.arange(0, count, _NODE_STEP), count - 1)).astype(np.float64)
    weights = np.empty((count, len(nodes)), dtype=np.float32)
    for column in range(len(nodes)):
        unit = np.zeros(len(nodes))
        unit[column] = 1.0
        weights[:, column] = np.interp(np.arange(count), nodes, unit)
    return nodes, weights


def _coordinates(raster: Raster, start: int, stop: int, to_anatomy: ToAnatomy) -> list[Array]:
    """Return the anatomy x, y, z of every voxel of slices [start, stop), float32."""
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
        """Return the index box, or None where the shape is not in the chunk."""
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
    """Apply constructive geometry: the painted class grows by the solid, every other class loses it."""
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
            index_box = (slice(box[0].start + start, box[0].stop + start), box[1], box[2])
            for coat in stroke.coats:
                depth = d + np.float32(coat.inset_mm) if coat.inset_mm else d
                cover = np.clip(0.5 - depth / edge, 0.0, 1.0)
                view = image[index_box]
                view += cover * (texture.signal(coat.tissue, index_box) - view)
                if coat.label != KEEP:
                    labels[index_box][depth < 0] = coat.label
                    if levels is not None:
                        _cover(levels, index_box, coat.label, depth)
    return Painted(image, labels, levels)


def level_fields(strokes: Sequence[Stroke], xyz: Points) -> Points:
    """Compute nine raw level fields (9, n, m) at anatomy points (n, m, 3) in float64, negative inside.

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
    """Return the strokes that change labels: background before the first structure does not."""
    start = next((n for n, s in enumerate(strokes) if any(c.label > 0 for c in s.coats)), 0)
    return [s for s in strokes[start:] if s.coats[0].label != KEEP]
