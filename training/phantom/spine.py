"""How the spine is painted: bodies, discs, arches, canal, dural sac and nerve roots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.structures import BY_ID
from dicomseg.volume import Array, Points
from training.phantom.column import DISCS, VERTEBRAE, Body, Column, Disc, Frame
from training.phantom.person import Disease, stream
from training.phantom.rasterise import KEEP, Coat, Stroke
from training.phantom.solids import Bounds, Capsule, Ellipsoid, Shape, Tube, Union, Without

L4, IVD, L5, DURA, N4 = (BY_ID[i].value for i in ("l4", "ivd", "l5", "dura", "n4"))
_CORTEX_MM: Final = 0.85


FREE_DISC_MM: Final = 3.0
"""Between S1 and S2 a gap of this height is a disc."""


def disc_strokes(seed: int, column: Column, disease: Disease) -> list[Stroke]:
    """Discs with dark annulus, nucleus by grade and a cleft; L4/5 carries the label."""
    rng = stream(seed, "discs")
    out: list[Stroke] = []
    for name, disc in column.discs.items():
        label = IVD if name == "l45" else 0
        shape: Shape = disc
        f, grade = disc.frame, column.grades[name]
        if name == "l45" and disease.herniation is not None:
            x, r = disease.herniation
            knob = f.at(x, disc.half_depth_mm - 0.35 * r, float(rng.normal(0, 1.0)))
            shape = Union((disc, Ellipsoid(knob, (r, r, min(r, disc.gap_mm * 0.75 + 1.5)))), 1.5)
        if name == "s1s2" and disc.gap_mm < FREE_DISC_MM:
            continue  # grown together
        out.append(Stroke(shape, (Coat(0, "annulus", label), Coat(1.6, "annulus_inner", label))))
        half = max(disc.gap_mm * 0.5, 1.2)
        core = Disc(
            Frame(f.at(float(rng.normal(0, 1)), 1.5, 0), f.axes),
            disc.half_width_mm * 0.77 - 2,
            disc.half_depth_mm * 0.72 - 1.5,
            2 * half,
            disc.slope,
            1.0,
        )
        out.append(
            Stroke(
                core, (Coat(0, f"nucleus_{grade}_rim", label), Coat(2.0, f"nucleus_{grade}", label))
            )
        )
        if grade >= 2 and half > 2.5:
            cleft = Disc(
                core.frame, core.half_width_mm * 0.8, core.half_depth_mm * 0.75, 0.9, 0.0, 0.2
            )
            out.append(Stroke(_Flat(cleft, 0.6), (Coat(0, f"nucleus_{grade}_rim", label),)))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Flat:
    """The middle layer of a disc, `half_mm` thick on either side."""

    disc: Disc
    half_mm: float

    def bounds(self) -> Bounds:
        return self.disc.bounds()

    def field(self, x: Array, y: Array, z: Array) -> Array:
        w = self.disc.frame.local(x, y, z)[2]
        return np.maximum(self.disc.field(x, y, z), np.abs(w) - self.half_mm)


def body_strokes(seed: int, column: Column, disease: Disease) -> list[Stroke]:
    """Bodies: dark cortex, marrow, basivertebral vein; L4 and L5 carry labels."""
    rng = stream(seed, "bodies")
    out: list[Stroke] = []
    for name, body in column.bodies.items():
        label = {"l4": L4, "l5": L5}.get(name, 0)
        out.append(Stroke(body, (Coat(0, "cortex", label), Coat(_CORTEX_MM, "marrow", label))))
        f = body.frame
        vein = Capsule(
            f.at(float(rng.normal(0, 2)), body.half_depth_mm * 0.1, float(rng.normal(0, 1))),
            f.at(0, body.half_depth_mm * 0.78, float(rng.normal(0, 0.8))),
            (0.9, 2.0),
            (0.6, 1.0, 1.0),
        )
        out.append(Stroke(vein, (Coat(0, "basivertebral", KEEP),)))
        if name in ("l4", "l5") and disease.modic:
            edge = -1.0 if name == "l4" else 1.0
            band = f.at(
                float(rng.normal(0, 4)), float(rng.normal(-2, 3)), edge * (body.height_mm / 2 - 4.4)
            )
            half = (body.half_width_mm * 0.6, body.half_depth_mm * 0.6, 2.4)
            out.append(Stroke(Ellipsoid(band, half), (Coat(0, "modic", KEEP),)))
        if name == "l4" and disease.haemangioma:
            spot = f.at(*(rng.uniform(-0.4, 0.4, 3) * [body.half_width_mm, body.half_depth_mm, 20]))
            out.append(
                Stroke(Ellipsoid(spot, rng.uniform(3, 7, 3)), (Coat(0, "haemangioma", KEEP),))
            )
    return out


def _half_arch(
    rng: np.random.Generator, body: Body, size: float, p: float, root_mm: float
) -> list[Shape]:
    """Pedicle, lamina, both articular and the transverse process of the side that p lies on."""
    f, b, side = body.frame, body.half_depth_mm, np.sign(p)
    high = 4.5 + rng.normal(0, 0.7)
    lateral = f.at(side * 41 * size, b + 10 * size + rng.normal(0, 2), high - 1.5)
    return [
        Capsule(
            f.at(p * 0.94, b - 3.0, high),
            f.at(p * 1.06, b + 12 * size, high - 1.5),
            (4.7, 4.3),
            (1.0, 1.0, 0.8),
        ),
        Capsule(
            f.at(p * 1.05, b + 13 * size, 1), f.at(side * 1.5, root_mm, -9), (4.4, 3.4), (1, 1, 0.6)
        ),
        Capsule(
            f.at(p * 1.05, b + 14 * size, -1),
            f.at(p * 1.02, b + 17 * size, -19),
            (4.8, 5.6),
            (1, 1.15, 1),
        ),
        Capsule(
            f.at(p * 1.12, b + 12 * size, 3),
            f.at(p * 1.32, b + 13.5 * size, 14),
            (4.6, 4.4),
            (1, 1.15, 1),
        ),
        Capsule(f.at(p * 1.15, b + 11 * size, high - 1), lateral, (4.0, 2.4)),
    ]


def arch_strokes(seed: int, column: Column, disease: Disease) -> list[Stroke]:
    """Pedicles, laminae, facets, transverse and spinous processes, yellow ligament; no labels."""
    rng = stream(seed, "arch")
    out: list[Stroke] = []
    for name, body in column.bodies.items():
        if name in ("s2", "t11"):
            continue
        f, s, b = body.frame, column.size, body.half_depth_mm
        parts: list[Shape] = []
        small: list[Stroke] = []
        root = b + 25.5 * s + rng.normal(0, 0.8) - (2.5 if disease.stenosis else 0)
        wide = {"l5": 18.0, "s1": 20.0, "l4": 16.5}.get(name, 15.0)
        thick = 3.4 if disease.stenosis else 2.2
        for side in (-1.0, 1.0):
            p = side * wide * s + float(rng.normal(0, 0.5))
            parts += _half_arch(rng, body, s, p, root)
            gap = f.at(p * 1.2, b + 15 * s, -14)
            joint = Capsule(
                gap + np.array([side * 1.5, -3.5, 3]),
                gap + np.array([-side * 1.0, 4.5, -3]),
                (1.1, 1.1),
                (1, 1, 0.35),
            )
            small.append(Stroke(joint, (Coat(0, "facet", 0),)))
            start, stop = f.at(side * 9.5 * s, root - 8.5, -12), f.at(side * 2.0, root - 2.0, -18)
            flavum = Capsule(start, stop, (thick, thick * 0.85), (1, 1, 0.32))
            small.append(Stroke(flavum, (Coat(0, "ligament", 0),)))
        long, low, thin = {"l5": (13.0, -22.0, 2.3), "s1": (6.0, -16.0, 2.0)}.get(
            name, (24.0, -14.0, 3.4)
        )
        tip = f.at(float(rng.normal(0, 1)), root + long * s, low)
        parts.append(Capsule(f.at(0, root + 1, -9), tip, (thin * 0.9, thin), (1.0, 1.0, 0.36)))
        out.append(Stroke(Union(parts, 3.0), (Coat(0, "cortex", 0), Coat(1.1, "marrow", 0))))
        out += small
    return out


def bridge_strokes(column: Column) -> list[Stroke]:
    """Marrow from body to pedicle, where the painted cortex would cut it; labels stay."""
    out = []
    for name, body in column.bodies.items():
        wide = {"l5": 18.0, "s1": 20.0, "l4": 16.5}.get(name, 15.0) * column.size
        for side in (-1.0, 1.0):
            b = body.half_depth_mm
            start, stop = (body.frame.at(side * wide * 0.95, b + v, 4.0) for v in (-4.0, 3.0))
            out.append(
                Stroke(Capsule(start, stop, (3.2, 3.2), (1, 1, 0.8)), (Coat(0, "marrow", KEEP),))
            )
    return out


def canal_strokes(seed: int, column: Column, disease: Disease) -> tuple[list[Stroke], Tube]:
    """Epidural fat, dural sac with rootlets; also the sac's tube for the roots to start at."""
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
    """Rootlets: dark threads inside the sac at fixed relative places that drift with height.

    places: (n, 4) relative left, relative back at z = 0 and their change per mm.
    """

    sac: Tube
    places: Points
    radius_mm: float

    def bounds(self) -> Bounds:
        """Box of the sac."""
        return self.sac.bounds()

    def section(self, z_low: float, z_high: float) -> tuple[float, float, float, float]:
        """Box of the sac between two heights."""
        return self.sac.section(z_low, z_high)

    def field(self, x: Array, y: Array, z: Array) -> Array:
        """Distance to the nearest thread minus its radius."""
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
    """Knots of one root's tube down to `length_mm` below the disc's centre."""
    k = _COURSE[_COURSE[:, 0] >= -length_mm - 6].copy()
    k[-1, 0] = max(k[-1, 0], -length_mm) if length_mm < 38 else k[-1, 0]
    k[:, 0] += rng.normal(0, 1.5)
    c = disc.frame.centre
    x = side * k[:, 1] * size * rng.normal(1, 0.05) + rng.normal(0, 0.5, len(k)) + c[0]
    y = k[:, 2] * (0.6 + 0.4 * size) + rng.normal(0, 0.6, len(k)) + c[1]
    r = k[:, 3] * rng.normal(1.0, 0.1)
    return np.column_stack([k[:, 0] + c[2], x, y, r, r * rng.uniform(0.85, 1.0), np.zeros(len(k))])


def root_strokes(seed: int, column: Column, sac: Tube) -> tuple[list[Stroke], list[Stroke]]:
    """Foraminal fat (to paint early) and roots (to paint late): L4 labelled, L2, L3, L5 not."""
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
