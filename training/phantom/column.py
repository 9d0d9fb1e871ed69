"""Chain vertebral bodies and discs to a column, from the L4/5 disc at the origin.

Tilt is the rotation about +x that raises the back of a body. Sizes follow 24 patients of SPIDER and published CT and MR tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from dicomseg.volume import Points
from training.phantom.person import Disease, Person, stream
from training.phantom.vertebra import DISCS, VERTEBRAE, Body, Disc, Frame

_HEIGHT: Final = (22.0, 27.0, 26.0, 26.6, 27.0, 26.6, 25.6, 24.5, 23.5)
_WIDTH: Final = (21.0, 26.5, 26.3, 25.3, 24.2, 23.0, 22.2, 21.6, 21.0)
_DEPTH: Final = (11.0, 16.6, 17.4, 17.8, 17.6, 17.2, 16.4, 15.8, 15.2)
_BODY_WEDGE: Final = (6.0, 9.0, 6.0, 2.0, 1.0, -3.0, -4.5, -4.0, -3.0)
_GAP: Final = (1.5, 7.4, 8.3, 8.2, 8.0, 7.2, 6.4, 5.4)
_DISC_WEDGE: Final = (2.0, 11.0, 8.5, 6.0, 5.0, 3.0, 1.0, 0.0)
_SHRINK: Final = {1: 1.15, 2: 1.05, 3: 0.95, 4: 0.8, 5: 0.5}


def _axes(tilt_deg: float, roll_deg: float, twist_deg: float) -> Points:
    t, r, q = np.deg2rad([tilt_deg, roll_deg, twist_deg])
    tilt = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    roll = np.array([[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]])
    twist = np.array([[np.cos(q), -np.sin(q), 0], [np.sin(q), np.cos(q), 0], [0, 0, 1]])
    return np.asarray(twist @ roll @ tilt)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """All bodies and discs by name, and the centre line of the canal."""

    bodies: Mapping[str, Body]
    discs: Mapping[str, Disc]
    grades: Mapping[str, int]
    size: float

    def front(self, x: float, z: float) -> float:
        """Return the approximate y of the front wall of the column beside the midline, mm."""
        parts: list[Body | Disc] = [*self.bodies.values(), *self.discs.values()]
        best = min(parts, key=lambda p: abs(p.frame.centre[2] - z) / _half_height(p))
        c, b, a = best.frame.centre, best.half_depth_mm, best.half_width_mm
        share = min(abs(x - c[0]) / a, 0.98)
        lean = best.frame.axes[2, 1] / max(best.frame.axes[1, 1], 0.5)
        middle = c[1] - (z - c[2]) * lean
        return float(middle - b * (1 - share**2.5) ** 0.4)


def _half_height(part: Body | Disc) -> float:
    return part.height_mm / 2 if isinstance(part, Body) else part.gap_mm / 2 + 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Sizes:
    """Everything drawn about the column before it is chained; lists run from below."""

    grades: dict[str, int]
    gaps: list[float]
    heights: list[float]
    wedges: Points
    openings: Points
    curve: float
    rolls: Points
    twists: Points
    tilt: float
    width: list[float]
    depth: list[float]
    girth: list[float]
    """Width and depth of each disc as a share of the bodies' beside it."""


_RUDIMENT: Final = {"gap": 0.4, "girth": 0.72, "wedge": 0.5}
"""Share of its size that the last disc keeps above a vertebra joined to the sacrum: low, narrow, hardly wedged. A guess."""
_FREE_GAP_MM: Final = 5.0
_FREE_DEPTH: Final = 0.92
"""A free first sacral vertebra is squared: below it lies a disc of this height, and a body of this share of its
depth and width. Guesses."""
_FREE_WEDGE_DEG: Final = 4.0


def _with_transition(sizes: _Sizes, person: Person) -> _Sizes:
    """Shape the border between lumbar spine and sacrum; everything from L5 upwards stays as drawn."""
    if person.transition == "none":
        return sizes
    gaps, girth, openings = list(sizes.gaps), list(sizes.girth), sizes.openings.copy()
    width, depth, wedges = list(sizes.width), list(sizes.depth), sizes.wedges.copy()
    if person.transition == "sacralised":
        last = DISCS.index("l5s1")
        gaps[last] = max(1.8, _RUDIMENT["gap"] * _GAP[last] * person.height)
        girth[last] = _RUDIMENT["girth"]
        openings[last] *= _RUDIMENT["wedge"]
    else:
        gaps[DISCS.index("s1s2")] = _FREE_GAP_MM * person.height
        s1, s2 = VERTEBRAE.index("s1"), VERTEBRAE.index("s2")
        width[s2], depth[s2] = _FREE_DEPTH * width[s1], _FREE_DEPTH * depth[s1]
        wedges[s1] = _FREE_WEDGE_DEG
    return replace(
        sizes, gaps=gaps, girth=girth, openings=openings, width=width, depth=depth, wedges=wedges
    )


def _draw_sizes(rng: np.random.Generator, person: Person) -> _Sizes:
    grades = {"l34": person.grades[0], "l45": person.grades[1], "l5s1": person.grades[2]}
    for name in DISCS:
        grades.setdefault(name, max(1, int(min(person.grades)) + int(rng.integers(-1, 1))))
    gaps = [
        g * _SHRINK[grades[d]] * person.height * rng.normal(1, 0.1)
        for g, d in zip(_GAP, DISCS, strict=True)
    ]
    gaps = [max(2.2, g) if d != "s1s2" else 1.5 for g, d in zip(gaps, DISCS, strict=True)]
    heights = [h * person.height * rng.normal(1, 0.03) for h in _HEIGHT]
    wedges = np.asarray(_BODY_WEDGE) + rng.normal(0, 1.2, len(VERTEBRAE))
    openings = np.asarray(_DISC_WEDGE) * [_SHRINK[grades[d]] ** 0.7 for d in DISCS]
    openings = openings + rng.normal(0, 1.2, len(DISCS))
    curve = rng.normal(0, 1.2) if rng.random() > 0.06 else rng.normal(0, 4.0)
    rolls, twists = rng.normal(0, 0.8, 9), rng.normal(0, 1.0, 9)
    tilt = rng.normal(11.5, 3.5)
    width = [w * person.size * rng.normal(1, 0.025) for w in _WIDTH]
    depth = [d * person.size * rng.normal(1, 0.025) for d in _DEPTH]
    girth = [1.0] * len(DISCS)
    drawn = _Sizes(
        grades, gaps, heights, wedges, openings, curve, rolls, twists, tilt, width, depth, girth
    )
    return _with_transition(drawn, person)


@dataclass(slots=True, eq=False)
class _Chain:
    """Builds bodies and discs one after the other, away from L4/5."""

    rng: np.random.Generator
    sizes: _Sizes
    osteophytes_mm: float
    bodies: dict[str, Body] = field(default_factory=dict)
    discs: dict[str, Disc] = field(default_factory=dict)

    def disc(self, n: int, centre: Points, tilt: float) -> None:
        """Put disc n."""
        s, name = self.sizes, DISCS[n]
        axes = _axes(tilt, s.curve * (n - 2) * 0.8, s.twists[n] * 0.5)
        wedge = np.tan(np.deg2rad(s.openings[n] / 2))
        bulge = self.rng.uniform(0.2, 1.0) + 0.45 * (s.grades[name] - 1)
        self.discs[name] = Disc(
            Frame(centre, axes),
            (s.width[n] + s.width[n + 1]) / 2 * s.girth[n],
            (s.depth[n] + s.depth[n + 1]) / 2 * 1.03 * s.girth[n],
            s.gaps[n],
            float(wedge),
            float(bulge + self.osteophytes_mm * 0.2),
        )

    def body(self, n: int, near: Points, tilt: float, up: float) -> tuple[Points, float]:
        """Put body n on the end-plate at `near`; answer its other end-plate and tilt."""
        s, rng = self.sizes, self.rng
        axis_tilt = tilt - up * s.wedges[n] / 2
        axes = _axes(axis_tilt, s.curve * (n - 2.5) * 0.8 + s.rolls[n] * 0.4, s.twists[n])
        centre = near + up * axes[:, 2] * s.heights[n] / 2
        slope = float(np.tan(np.deg2rad(s.wedges[n] / 2)))
        self.bodies[VERTEBRAE[n]] = Body(
            Frame(centre, axes),
            s.width[n],
            s.depth[n],
            s.heights[n],
            (-slope, slope),
            (float(rng.uniform(0.3, 1.1)), float(rng.uniform(0.8, 2.2))),
            float(rng.uniform(0.05, 0.1)),
            float(rng.uniform(0.25, 0.5)),
        )
        return centre + up * axes[:, 2] * s.heights[n] / 2, axis_tilt - up * s.wedges[n] / 2


def build_column(seed: int, person: Person, disease: Disease) -> Column:
    """Chain the column upward and downward from the L4/5 disc at the origin."""
    rng = stream(seed, "column")
    sizes = _draw_sizes(rng, person)
    chain = _Chain(rng, sizes, disease.osteophytes_mm)
    chain.disc(2, np.zeros(3), sizes.tilt)
    start = chain.discs["l45"].frame
    for up, order in ((1, range(3, 9)), (-1, range(2, -1, -1))):
        near = start.centre + up * start.axes[:, 2] * sizes.gaps[2] / 2
        tilt = sizes.tilt - up * sizes.openings[2] / 2
        if up > 0 and disease.slip_mm:
            near = near - start.axes[:, 1] * disease.slip_mm
        for n in order:
            near, tilt = chain.body(n, near, tilt, float(up))
            d = n if up > 0 else n - 1
            if not 0 <= d < len(DISCS):
                break
            tilt -= up * sizes.openings[d] / 2
            step = up * _axes(tilt, 0, 0)[:, 2] * sizes.gaps[d]
            chain.disc(d, near + step / 2, tilt)
            near = near + step
            tilt -= up * sizes.openings[d] / 2
    return Column(chain.bodies, chain.discs, sizes.grades, person.size)
