"""Paint the canal: epidural fat, dural sac with rootlets, and the nerve roots that leave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.structures import BY_ID
from dicomseg.volume import Array, Points
from training.phantom.column import Column
from training.phantom.person import Disease, stream
from training.phantom.rasterise import KEEP, Coat, Stroke
from training.phantom.solids import Bounds, Ellipsoid, Tube, Without
from training.phantom.vertebra import DISCS, VERTEBRAE, Disc

DURA, N4 = (BY_ID[i].value for i in ("dura", "n4"))


def canal_strokes(seed: int, column: Column, disease: Disease) -> tuple[list[Stroke], Tube]:
    """Paint epidural fat, dural sac with rootlets; also the sac's tube for the roots to start at."""
    rng = stream(seed, "canal")
    area = float(np.clip(rng.normal(155, 42), 75, 260))
    if disease.stenosis:
        area = float(rng.uniform(55, 100))
    base = float(np.sqrt(area / (np.pi * 0.74)))
    shift = float(rng.normal(0, 0.8))
    sac, fat = [], []
    for name in VERTEBRAE:
        part = column.bodies[name]
        sac_size = base * (1.04 if name not in ("s1", "s2") else 0.8 if name == "s1" else 0.45)
        for w, slack in ((0.3, 1.5), (-0.3, 1.3)):
            half = sac_size * 0.8
            c = part.frame.at(shift, part.half_depth_mm * 0.95 + slack + half, part.height_mm * w)
            sac.append((c[2], c[0], c[1], sac_size, half, 0.0))
            c = part.frame.at(0, part.half_depth_mm * 0.95 + 10.0, part.height_mm * w)
            fat.append((c[2], c[0], c[1], 13.5 * column.size, 10.2, 0.0))
    for name in DISCS[1:]:
        part_d = column.discs[name]
        size = base * (0.97 if name != "l5s1" else 0.85)
        half = size * 0.74
        c = part_d.frame.at(shift, part_d.half_depth_mm + 0.2 + half, 0)
        sac.append((c[2], c[0], c[1], size, half, 0.0))
        c = part_d.frame.at(0, part_d.half_depth_mm + 10.0, 0)
        fat.append((c[2], c[0], c[1], 12.5 * column.size, 11.2, 0.0))
    tube = Tube(np.array(sac), 0.08, float(rng.uniform(0.12, 0.3)))
    out = [
        Stroke(Tube(np.array(fat), 0.4, 0.35), (Coat(0, "epidural_fat", 0),)),
        Stroke(tube, (Coat(0, "dura", DURA), Coat(0.55, "csf", DURA))),
        Stroke(_rootlets(rng, tube, disease), (Coat(0, "rootlet", KEEP),)),
    ]
    return out, tube


@dataclass(frozen=True, slots=True, eq=False)
class Threads:
    """Rootlets: dark threads inside the sac at fixed relative positions that drift with height."""

    sac: Tube
    places: Points
    """(n, 4): relative left, relative back at z = 0 and their change per mm."""
    radius_mm: float

    def bounds(self) -> Bounds:
        """Return the box of the sac."""
        return self.sac.bounds()

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Return the box of the sac between two heights."""
        return self.sac.section(z_low, z_high)

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Return the distance to the nearest thread minus its radius."""
        p = self.sac.at(z)
        u, v, wave = x - p[0], y - p[1], np.clip(z, -90, 160)
        wide, deep = 1 / p[2], 1 / p[3]
        nearest = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), 1e3, dtype=p.dtype)
        for left, back, drift_u, drift_v in self.places.tolist():
            du = u - (left + drift_u * wave) * wide
            dv = v - (back + drift_v * wave) * deep
            np.minimum(nearest, du * du + dv * dv, out=nearest)
        inside = self.sac.field(x, y, z) + np.asarray(0.9, dtype=p.dtype)
        return np.asarray(np.maximum(np.sqrt(nearest) - self.radius_mm, inside))


def _rootlets(rng: np.random.Generator, tube: Tube, disease: Disease) -> Threads:
    count = int(rng.integers(26, 38))
    crescent = rng.uniform(-1, 1, count)
    left = 0.78 * crescent + rng.normal(0, 0.06, count)
    back = 0.75 - 0.55 * crescent**2 + rng.normal(0, 0.16, count) - (0.3 if disease.stenosis else 0)
    room = np.sqrt(np.maximum(0.72 - left**2, 0.02))
    back = np.clip(back, -room, room)
    drift = rng.normal(0, 0.0025, (count, 2))
    return Threads(tube, np.column_stack([left, back, drift]), float(rng.uniform(0.42, 0.62)))


_COURSE: Final = np.array(
    [
        (38, 7.0, 22.0, 0.8),
        (24, 11.0, 21.5, 1.6),
        (17, 15.5, 21.5, 2.2),
        (9, 20.5, 21.0, 3.0),
        (2, 25.5, 18.5, 2.5),
        (-8, 31.0, 15.0, 2.4),
        (-20, 35.0, 11.0, 2.2),
        (-38, 39.0, 6.0, 2.0),
    ]
)
"""A root and its ganglion, left side, relative to the disc it leaves above: z, x, y, radius."""


def root_course(
    rng: np.random.Generator, disc: Disc, side: float, size: float, length_mm: float
) -> Points:
    """Return the knots of one root's tube down to `length_mm` below the disc's centre."""
    k = _COURSE[_COURSE[:, 0] >= -length_mm - 6].copy()
    k[-1, 0] = max(k[-1, 0], -length_mm) if length_mm < 38 else k[-1, 0]
    k[:, 0] += rng.normal(0, 1.5)
    c = disc.frame.centre
    x = side * k[:, 1] * size * rng.normal(1, 0.05) + rng.normal(0, 0.5, len(k)) + c[0]
    y = k[:, 2] * (0.6 + 0.4 * size) + rng.normal(0, 0.6, len(k)) + c[1]
    r = k[:, 3] * rng.normal(1.0, 0.1)
    return np.column_stack([k[:, 0] + c[2], x, y, r, r * rng.uniform(0.85, 1.0), np.zeros(len(k))])


def root_strokes(seed: int, column: Column, sac: Tube) -> tuple[list[Stroke], list[Stroke]]:
    """Paint foraminal fat (to paint early) and roots (to paint late): L4 labelled, L2, L3, L5 not."""
    fat: list[Stroke] = []
    roots: list[Stroke] = []
    names: Sequence[tuple[str, str, int]] = (
        ("l45", "l4", N4),
        ("l34", "l3", 0),
        ("l5s1", "l5", 0),
        ("l23", "l2", 0),
        ("l12", "l1", 0),
    )
    for name, root, label in names:
        rng = stream(seed, f"root {root}")
        for side in (-1.0, 1.0):
            knots = root_course(rng, column.discs[name], side, column.size, 25.0 if label else 38.0)
            if name == "l5s1":
                knots[:, 2] += np.linspace(0, 8, len(knots))
            solid = Without(Tube(knots), sac)
            keep = label or KEEP
            roots.append(Stroke(solid, (Coat(0, "root_sheath", keep), Coat(0.5, "nerve", keep))))
            centre = column.discs[name].frame.centre
            pocket = (centre[0] + side * 19.5 * column.size, centre[1] + 22.5, centre[2] + 7.0)
            half = rng.uniform([5.5, 5.0, 8.0], [8.5, 7.0, 11.0])
            fat.append(Stroke(Ellipsoid(pocket, half.tolist()), (Coat(0, "epidural_fat", 0),)))
            thin = knots[knots[:, 0] > centre[2] - 12].copy()
            thin[:, 3:5] += rng.uniform(0.4, 1.8)
            fat.append(Stroke(Tube(thin), (Coat(0, "epidural_fat", 0),)))
    return fat, roots
