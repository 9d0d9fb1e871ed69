"""Shapes of closed form: their true planes, outlines and lengths are known to 0.001 mm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import Polygon

from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
from dicomseg.structures import BY_ID, CHANNELS
from dicomseg.volume import Volume

Vector = NDArray[np.float64]


def rotation(degrees: float, axis: Vector) -> Vector:
    k = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass(frozen=True)
class Tube:
    """An elliptic cylinder: centre and semi-axes in the disc's frame (left, back, up) in mm."""

    centre: tuple[float, float, float]
    semi: tuple[float, float]
    tilt_deg: float = 0.0
    turn_deg: float = 0.0
    spin_deg: float = 0.0

    @property
    def frame(self) -> Vector:
        """Rows: both axes of the section, then the axis of the cylinder."""
        lean = rotation(
            self.tilt_deg, np.array([np.cos(t := np.deg2rad(self.turn_deg)), np.sin(t), 0])
        )
        return (lean @ rotation(self.spin_deg, np.array([0.0, 0.0, 1.0]))).T

    def inside(self, points: Vector) -> Vector:
        """Zero on the surface, positive inside, about mm."""
        local = (points - np.array(self.centre)) @ self.frame[:2].T
        radius = np.sqrt(((local / np.array(self.semi)) ** 2).sum(axis=-1))
        return np.asarray((1 - radius) * min(self.semi))

    def section(self) -> tuple[Vector, Vector]:
        """Centre (a, b) on the plane, and the quadratic form of its ellipse there."""
        axis = self.frame[2]
        centre = np.array(self.centre) - axis * self.centre[2] / axis[2]
        in_plane = self.frame[:2, :2] / np.array(self.semi)[:, None]
        return centre[:2], in_plane.T @ in_plane

    def polygon(self) -> Polygon:
        """The true outline on the plane, a 6,000-gon."""
        centre, form = self.section()
        values, vectors = np.linalg.eigh(form)
        t = np.linspace(0, 2 * np.pi, 6000, endpoint=False)
        circle = np.stack([np.cos(t), np.sin(t)]) / np.sqrt(values)[:, None]
        return Polygon((vectors @ circle).T + centre)

    def diameters(self) -> tuple[float, float]:
        """Largest and least diameter on the plane."""
        low, high = np.linalg.eigvalsh(self.section()[1])
        return float(2 / np.sqrt(low)), float(2 / np.sqrt(high))


def spine() -> dict[str, tuple[Tube, ...]]:
    """One patient, asymmetric in all three axes; the disc is 10 mm high with a wedge of 8°."""
    return {
        "aa": (Tube((14.0, -29.0, 0.0), (6.5, 5.5), 18.0, 70.0, 20.0), Tube((-7.0, -32.0, 0.0), (5.5, 4.8), 15.0, 110.0)),
        "ivc": (Tube((-19.0, -24.0, 0.0), (10.5, 7.0), 10.0, 80.0, 15.0),),
        "pm": (Tube((39.5, -4.0, 0.0), (13.0, 15.5), 8.0, 80.0, 20.0), Tube((-41.0, -6.0, 0.0), (14.5, 16.5), 6.0, 100.0, -25.0)),
        "dura": (Tube((1.0, 27.0, 0.0), (8.0, 6.0), 5.0),),
    }  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """How the disc lies in the patient, and how the grid lies there."""

    disc: Vector = field(default_factory=lambda: np.eye(3))
    centre_lps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grid: Vector = field(default_factory=lambda: np.eye(3))
    order: tuple[int, int, int] = (2, 1, 0)
    flips: tuple[int, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 0.8)
    low_mm: tuple[float, float, float] = (-62.0, -48.0, -17.0)
    high_mm: tuple[float, float, float] = (62.0, 44.0, 17.0)

    def to_lps(self, local: Vector) -> Vector:
        """Points of the disc's frame (left, back, up) to LPS."""
        return np.asarray(local @ self.disc.T + np.array(self.centre_lps))


@dataclass(frozen=True)
class Ends:
    """The end plates turned away from the disc: so far from it, open to the front by these angles."""

    height_mm: float = 32.0
    upper_deg: float = 0.0
    lower_deg: float = 0.0

    def inside(self, points: Vector, *, upper: bool) -> Vector:
        """Positive on the disc's side of an end plate, in mm."""
        angle = np.deg2rad(self.upper_deg if upper else self.lower_deg)
        away = points[..., 2] if upper else -points[..., 2]
        # a plate that opens to the front rises there: along −b
        return np.asarray((self.height_mm - np.tan(angle) * points[..., 1] - away) * np.cos(angle))


def _logits(
    points: Vector, tubes: Mapping[str, tuple[Tube, ...]], tau_mm: float, ends: Ends | None
) -> Vector:
    out = np.full((CHANNELS, *points.shape[:-1]), -30.0, dtype=np.float32)
    out[0] = 0.0
    for name, parts in tubes.items():
        out[BY_ID[name].value] = np.max([t.inside(points) for t in parts], axis=0) / tau_mm  # type: ignore[index]
    side = Tube((0.0, 0.0, 0.0), (25.0, 18.0)).inside(points)
    lean = np.tan(np.deg2rad(4.0))
    upper = (5.0 - lean * points[..., 1] - points[..., 2]) * np.cos(np.deg2rad(4.0))
    lower = (5.0 - lean * points[..., 1] + points[..., 2]) * np.cos(np.deg2rad(4.0))
    out[2] = np.minimum(side, np.minimum(upper, lower)) / tau_mm
    out[1] = np.minimum(side, -upper) / tau_mm
    out[3] = np.minimum(side, -lower) / tau_mm
    if ends is not None:
        out[1] = np.minimum(out[1], ends.inside(points, upper=True) / tau_mm)
        out[3] = np.minimum(out[3], ends.inside(points, upper=False) / tau_mm)
    return np.asarray(np.clip(out, -30, 30))


def segmentation(
    tubes: Mapping[str, tuple[Tube, ...]],
    pose: Pose,
    tau_mm: float = 0.4,
    ends: Ends | None = None,
    **more: Any,
) -> Segmentation:
    """Smooth logits of the tubes around a disc on the pose's grid, with their label map."""
    low, high, spacing = (np.array(v) for v in (pose.low_mm, pose.high_mm, pose.spacing_mm))
    counts = np.ceil((high - low) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = pose.grid * spacing
    affine[:3, 3] = np.array(pose.centre_lps) + pose.grid @ low
    order = list(pose.order)
    affine[:3, :3] = affine[:3, order]
    shape = [int(counts[n]) for n in order]
    for axis in pose.flips:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    lps = index @ affine[:3, :3].T + affine[:3, 3]
    logits = _logits((lps - np.array(pose.centre_lps)) @ pose.disc, tubes, tau_mm, ends)
    return answer(logits, affine, pose, **more)


def answer(logits: Vector, affine: Vector, pose: Pose, **more: Any) -> Segmentation:
    """Wrap logits as a segmentation whose labels are their largest class."""
    labels = logits.argmax(axis=0).astype(np.uint8)
    volume = Volume(labels, affine, "1.2.3")
    x = volume.to_patient(np.stack(np.indices(labels.shape), axis=-1)) - np.array(pose.centre_lps)
    sides = np.zeros_like(labels)
    sides[(labels == 7) & (x @ pose.disc[:, 0] > 0)] = 8
    sides[(labels == 7) & (x @ pose.disc[:, 0] <= 0)] = 9
    normal = pose.disc[:, 2]
    return Segmentation(
        level=Level(pose.centre_lps, (float(normal[0]), float(normal[1]), float(normal[2])), 1.0),
        labels=Labels(volume, np.ones(labels.shape, dtype=bool)),
        sides=volume.with_array(sides),
        scores=Scores(logits.astype(np.float32), affine),
        engine=EngineInfo("phantom", "1", "0", "none", "float32"),
        **more,
    )


@dataclass(frozen=True)
class Shapes:
    """Builders for the tests: they cannot import one another."""

    tube: type[Tube] = Tube
    pose: type[Pose] = Pose
    spine: Callable[[], dict[str, tuple[Tube, ...]]] = spine
    segmentation: Callable[..., Segmentation] = segmentation
    answer: Callable[..., Segmentation] = answer
    rotation: Callable[[float, Vector], Vector] = rotation
    ends: type[Ends] = Ends

    def posed(self, seed: int, **more: Any) -> Pose:
        """A disc that lies obliquely in the patient on a grid that fits neither; seed 0 is straight."""
        rng = np.random.default_rng(seed)
        if seed == 0:
            return Pose(**more)
        disc = rotation(rng.uniform(-20, 20), np.array([1.0, 0, 0])) @ rotation(
            rng.uniform(-8, 8), np.array([0, 1.0, 0])
        )
        x, y, z = rng.uniform(-40, 40, 3)
        grid = rotation(rng.uniform(-15, 15), rng.normal(size=3)) @ disc
        i, j, k = (int(v) for v in rng.permutation(3))
        flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
        posed = {"disc": disc, "centre_lps": (x, y, z), "grid": grid, "order": (i, j, k)}
        return Pose(**posed | {"flips": flips} | more)

    def straight(self, **more: Any) -> Pose:
        """A straight disc on a coarse grid: quick, for what is refused or flagged."""
        return self.pose(**{"spacing_mm": (1.2, 1.2, 1.2)} | more)


@pytest.fixture
def shapes() -> Shapes:
    return Shapes()
