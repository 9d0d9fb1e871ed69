"""Paint everything around the spine: psoas (labelled) and what a network must distinguish from it.

Body outline, fat, wall, bowel, back muscles, iliac wings, retroperitoneal fat, ureters, nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.structures import BY_ID
from dicomseg.volume import Array, Points
from training.phantom.column import Column
from training.phantom.person import Person, stream
from training.phantom.rasterise import Coat, Stroke
from training.phantom.solids import (
    Bounds,
    Capsule,
    Ellipsoid,
    Shape,
    Tube,
    Union,
    rounded,
    smooth_max,
)

PM = BY_ID["pm"].value

_PSOAS = np.array(
    [
        (110, 28, 14, 0.35),
        (60, 33, 10, 0.70),
        (40, 36, 8, 0.83),
        (20, 39.5, 5, 0.93),
        (0, 42, 1.5, 1.0),
        (-20, 44, -3, 1.04),
        (-40, 46.5, -9, 1.03),
        (-120, 66, -46, 0.8),
    ],
    dtype=np.float64,
)
"""Left psoas: z, x, y and area relative to that at L4/5."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The inside of an upright superellipse cylinder: body outline and its layers."""

    centre: tuple[float, float]
    half_mm: tuple[float, float]
    square: float
    flat_back_mm: float = 1e3

    def bounds(self) -> Bounds:
        """Return the box of the cylinder, endless in z."""
        (x, y), (a, b) = self.centre, self.half_mm
        return (x - a, y - b, -1e3), (x + a, min(y + b, self.flat_back_mm), 1e3)

    def field(self, x: Array, y: Array, _z: Array, /) -> Array:
        """Return the implicit function of the cylinder."""
        (cx, cy), (a, b) = self.centre, self.half_mm
        q = rounded((x - cx) / a, (y - cy) / b, self.square)
        return smooth_max((q - 1.0) * min(a, b), y - self.flat_back_mm, 12.0)


_FORWARD_MM: Final = -4.0
"""Moves the paths below to where psoas lies in four CT label maps and in 526 patients (Louie et al. 2017):
its front 6 mm before the disc's."""


def build_psoas(
    seed: int, person: Person, column: Column, length: tuple[float, float]
) -> tuple[Shape, Shape]:
    """Return the (left, right) psoas, drawn independently: teardrop, rising and slender ones included."""
    rng = stream(seed, "psoas")
    area = (1250.0 if person.sex == "M" else 880.0) * (person.height_cm / 170.0) ** 2
    area *= 1.0 - 0.004 * (person.age - 40) + 0.012 * (person.bmi - 24)
    area *= float(rng.lognormal(0, 0.16))
    shift_y, rising = float(rng.normal(_FORWARD_MM, 4.0)), rng.random() < 0.1
    out: list[Shape] = []
    for side in (1.0, -1.0):
        own = area * rng.lognormal(0, 0.06)
        aspect = float(rng.normal(1.15, 0.1)) * (1.3 if rising else 1.0)
        knots, lobe = [], []
        half_width = column.discs["l45"].half_width_mm
        for z, x, y, share in _PSOAS:
            a = np.sqrt(own * share / (np.pi * max(aspect, 0.7)))
            b = a * aspect
            gap = float(np.clip(rng.normal(0.5, 0.7), -1.0, 3.0))
            reach = x + 2.5
            if -50 < z < 50:
                reach = half_width * 0.93 + gap + a
                reach = 0.65 * reach + 0.35 * (x + 2.5)
            front = y + shift_y - (7.0 if rising else 0.0)
            tilt = -9.0 + 0.45 * min(z, 0.0)
            knots.append((z, side * reach, front, a, b, side * (tilt + rng.normal(0, 2))))
            lobe.append(
                (z, side * (reach - 0.35 * a), front + 0.62 * b, a * 0.62, b * 0.5, side * 20.0)
            )
        pick = [k for k in knots if length[0] - 60 <= k[0] <= length[1] + 60]
        pick_lobe = [k for k in lobe if length[0] - 60 <= k[0] <= length[1] + 60]
        square = float(rng.uniform(0.0, 0.35))
        out.append(Union((Tube(np.array(pick), square), Tube(np.array(pick_lobe))), 6.0))
    return out[0], out[1]


def psoas_strokes(psoas: tuple[Shape, Shape]) -> list[Stroke]:
    """Paint both psoas muscles with a thin dark sheath and a streak of fat along the plexus."""
    return [Stroke(p, (Coat(0, "fascia", PM), Coat(0.5, "psoas", PM))) for p in psoas]


def _tube(path: Points, square: float = 0.0) -> Tube:
    return Tube(np.asarray(path, dtype=np.float64), square)


def torso_strokes(seed: int, person: Person) -> list[Stroke]:
    """Paint skin, subcutaneous fat, wall and the cavity with its mesentery."""
    rng = stream(seed, "torso")
    fat = person.fat
    under_skin = 4.0 + 18.0 * fat + rng.uniform(0, 4)
    wall = float(rng.uniform(9, 14)) * (1.05 if person.sex == "M" else 0.9)
    half_x = 128.0 * (0.9 + 0.1 * person.size) + 26 * fat + rng.uniform(-6, 6)
    back, front = 83.0 + 4 * person.size + rng.uniform(-2, 3), -_belly_mm(person)
    middle, deep = (front + back) / 2, (back - front) / 2
    outline = Layer((0, middle), (half_x + under_skin + wall, deep + under_skin + wall * 0.5), 0.5)
    cavity_back = 37.0 + rng.uniform(-3, 4)
    centre = (front + cavity_back) / 2
    half_y = (cavity_back - front) / 2
    muscle = Layer((0, centre - wall * 0.2), (half_x + wall, half_y + wall * 0.75), 0.12)
    cavity = Layer((0, centre), (half_x, half_y), 0.12)
    return [
        Stroke(outline, (Coat(0, "skin"), Coat(1.8, "fat"))),
        Stroke(muscle, (Coat(0, "fascia"), Coat(0.7, "wall"))),
        Stroke(cavity, (Coat(0, "fascia"), Coat(0.8, "mesentery"))),
    ]


def _belly_mm(person: Person) -> float:
    """Return the depth of the cavity in front of the disc's centre."""
    return 62.0 + 34.0 * person.fat


def bowel_strokes(seed: int, person: Person, span: tuple[float, float]) -> list[Stroke]:
    """Paint bowel loops in front: wall and gas, chyme or fluid."""
    rng = stream(seed, "bowel")
    depth = _belly_mm(person) - 24.0
    out: list[Stroke] = []
    count = int((span[1] - span[0]) / 102.0 * rng.integers(70, 105)) + 8
    for _ in range(count):
        x = float(rng.uniform(-115, 115))
        y = float(rng.uniform(-18 - depth, -36))
        if abs(x) > 62:
            y = float(rng.uniform(-15 - depth, 12))
        start = np.array([x, y, rng.uniform(span[0] - 10, span[1] + 10)])
        stop = start + rng.normal(0, [13, 6, 12])
        r = float(rng.uniform(5, 15))
        for end in (start, stop):
            limit = -33.0 - 0.8 * r if abs(end[0]) < 66 else 10.0 - r
            end[1] = min(end[1], limit)
        content = str(
            rng.choice(["chyme", "fluid", "gas", "chyme_dark"], p=[0.42, 0.15, 0.18, 0.25])
        )
        flat = (1.0, float(rng.uniform(1.0, 1.7)), 1.0)
        out.append(
            Stroke(
                Capsule(start, stop, (r, r * 0.85), flat),
                (Coat(0, "bowel_wall"), Coat(1.8, content)),
            )
        )
    for _ in range(26):
        start = np.array([rng.uniform(-70, 70), rng.uniform(-20 - depth, -36), rng.uniform(*span)])
        stop = start + rng.normal(0, [14, 8, 16])
        r = float(rng.uniform(0.8, 2.2))
        out.append(
            Stroke(Capsule(start, stop, (r, r)), (Coat(0, str(rng.choice(["vein", "muscle"]))),))
        )
    return out


def retroperitoneal_strokes(seed: int, person: Person, column: Column) -> list[Stroke]:
    """Paint fat in front of the spine and around psoas, thin in slim people."""
    rng = stream(seed, "retroperitoneum")
    front = column.front(0.0, 0.0)
    room = 15.0 + 12.0 * person.fat + rng.uniform(0, 5)
    wide = 66.0 + 10 * person.fat
    z = np.array([-160, -60, 0, 60, 180.0])
    path = [(zz, rng.normal(0, 2), 14 + 0.06 * zz, wide, 14 - front + room, 0.0) for zz in z]
    return [Stroke(_tube(np.array(path), 0.3), (Coat(0, "retro_fat"),))]


_BACK_HEIGHTS = (-170.0, -90.0, -40.0, 0.0, 40.0, 90.0, 280.0)


def _upright(  # one row of numbers per muscle, as in a table
    rng: np.random.Generator,
    side: float,
    size: float,
    form: tuple[float, float, float, float, float, float],
    *,
    square: float,
    taper: float,
) -> Tube:
    """Build a back muscle: form = x, y, half width, half depth, angle, growth per 100 mm of height."""
    x, y, a, b, angle, growth = form
    rows = []
    for z in _BACK_HEIGHTS:
        k = size * (1.0 + growth * z / 100.0)
        rows.append(
            (
                z,
                side * (x * size + rng.normal(0, 1.2)),
                y * size - 0.02 * z + rng.normal(0, 0.8),
                max(a * k, 0.3),
                max(b * k, 2.0),
                side * (angle + rng.normal(0, 3)),
            )
        )
    return Tube(np.array(rows), square, taper)


def back_strokes(seed: int, person: Person, column: Column) -> list[Stroke]:
    """Paint erector, multifidus, quadratus lumborum and iliac wing, each side drawn alone."""
    rng = stream(seed, "back")
    s = column.size * (0.94 + 0.06 * (person.sex == "M"))
    out: list[Stroke] = [Stroke(Layer((0.0, 34.0), (66.0 * s, 40.0), 0.4), (Coat(0, "inter_fat"),))]
    for side in (-1.0, 1.0):
        loin = _upright(rng, side, s, (71, 21, 8.5, 20, -40, 0.1), square=0.3, taper=0.0)
        erector = _upright(rng, side, s, (47, 57, 38, 26, 10, 0.1), square=0.4, taper=0.0)
        many = _upright(rng, side, s, (15.5, 57, 15.5, 25.5, -8, -0.2), square=0.25, taper=-0.25)
        out.append(Stroke(loin, (Coat(0, "fascia"), Coat(0.6, "wall"))))
        out.append(Stroke(erector, (Coat(0, "fascia"), Coat(0.9, "erector"))))
        sheet = (50 + rng.normal(0, 5), 52 + rng.normal(0, 3), rng.uniform(0.2, 0.7), 16, 24, 0.0)
        septum = _upright(rng, side, s, sheet, square=0.0, taper=0.0)
        out.append(Stroke(septum, (Coat(0, "inter_fat"),)))
        out.append(Stroke(many, (Coat(0, "inter_fat"), Coat(0.9, "multifidus"))))
        out.append(_wing(rng, side, s))
    return out


def _wing(rng: np.random.Generator, side: float, size: float) -> Stroke:
    """Paint the iliac wing from its crest down."""
    top = float(rng.normal(-4, 9))
    rows = [
        (top + 3, side * 106 * size, 22, 3, 12, side * 30),
        (top - 8, side * 103 * size, 23, 5.5, 24, side * 32),
        (top - 35, side * 94 * size, 30, 8, 38, side * 40),
        (top - 80, side * 74 * size, 42, 9, 44, side * 48),
        (top - 180, side * 60 * size, 50, 9, 44, side * 50),
    ]
    return Stroke(Tube(np.array(rows), 0.2), (Coat(0, "cortex"), Coat(1.4, "marrow")))


def small_strokes(seed: int, column: Column, span: tuple[float, float]) -> list[Stroke]:
    """Paint ureters, gonadal vessels, sympathetic chain, nodes and lumbar veins."""
    rng = stream(seed, "small")
    out: list[Stroke] = []
    z = np.arange(span[0] - 20, span[1] + 21, 18.0)
    for side in (-1.0, 1.0):
        for x, y, r, tissue in ((38, -25, 1.7, "ureter"), (45, -22, 1.4, "vein")):
            at = side * (x + rng.normal(0, 3)) + rng.normal(0, 1.2, len(z))
            depth = y + rng.normal(0, 2) + 0.1 * z + rng.normal(0, 0.8, len(z))
            rows = np.column_stack([z, at, depth, np.full((len(z), 2), r), np.zeros(len(z))])
            out.append(Stroke(_tube(rows), (Coat(0, tissue),)))
        front = np.array([column.front(float(side * 19), float(zz)) for zz in z])
        rows = np.column_stack(
            [
                z,
                np.full(len(z), side * 20.0),
                front - 2.0,
                np.full((len(z), 2), 1.3),
                np.zeros(len(z)),
            ]
        )
        out.append(Stroke(_tube(rows), (Coat(0, "nerve"),)))
        for _ in range(int(rng.integers(1, 4))):
            zz = float(rng.uniform(*span))
            place = (
                side * rng.uniform(14, 22),
                column.front(float(side * 18), zz) - rng.uniform(4, 9),
                zz,
            )
            out.append(Stroke(Ellipsoid(place, rng.uniform(1.8, 3.4, 3)), (Coat(0, "node"),)))
    return out
