"""Paint the bones of the spine: bodies, discs, arches; the canal has a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.structures import BY_ID
from dicomseg.volume import Array
from training.phantom.column import Column
from training.phantom.person import Disease, stream
from training.phantom.rasterise import KEEP, Coat, Stroke
from training.phantom.solids import Bounds, Capsule, Ellipsoid, Shape, Union
from training.phantom.vertebra import Body, Disc, Frame

L4, IVD, L5 = (BY_ID[i].value for i in ("l4", "ivd", "l5"))
_CORTEX_MM: Final = 0.85


FREE_DISC_MM: Final = 3.0
"""Between S1 and S2 a gap of this height is a disc."""


def disc_strokes(seed: int, column: Column, disease: Disease) -> list[Stroke]:
    """Paint discs with dark annulus, nucleus by grade and a cleft; L4/5 carries the label."""
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
    """Paint bodies: dark cortex, marrow, basivertebral vein; L4 and L5 carry labels."""
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
    """Build pedicle, lamina, both articular and the transverse process of the side that p lies on."""
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
    """Paint pedicles, laminae, facets, transverse and spinous processes, yellow ligament; no labels."""
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
    """Paint marrow from body to pedicle, where the painted cortex would cut it; labels stay."""
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
