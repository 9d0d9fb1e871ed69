"""Measure a phantom's true plane and true values on the zero contours of its implicit surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import cdist
from skimage.measure import find_contours

from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array, Points
from training.phantom.mri import Contrast, Scan
from training.phantom.rasterise import level_fields
from training.phantom.scene import Anatomy
from training.phantom.vertebra import Body

RASTER_MM: Final = 0.1
"""Spacing of the raster in the disc plane: distances to 0.0004 mm, diameters to 0.0014 mm."""
_HALF_MM: Final = 85.0
_SMALLEST_MM2: Final = 8.0
"""Smaller sections are ignored, as in the measuring code."""
_TOUCH_MM: Final = 0.05


@dataclass(frozen=True, slots=True)
class DiscPlane:
    """The mid-plane of the L4/5 disc: a point and the unit normal towards the head, LPS mm."""

    point_lps: tuple[float, float, float]
    normal: tuple[float, float, float]

    @property
    def axes(self) -> tuple[Points, Points]:
        """Unit vectors in the plane: patient left, and back (normal × left)."""
        n = np.asarray(self.normal)
        left = np.array([1.0, 0.0, 0.0]) - n[0] * n
        left /= np.linalg.norm(left)
        return left, np.cross(n, left)


@dataclass(frozen=True, slots=True)
class TrueValue:
    """One measurement: mm, its two end points in LPS mm, and which parts it joins; or why not."""

    value_mm: float | None
    points_lps: tuple[tuple[float, float, float], ...] = ()
    note: str = ""
    components: int = 0


def plate_points(body: Body, *, upper: bool) -> Points:
    """Return points (n, 3) of an end plate within 0.8 of its radius, anatomy mm."""
    u, v = np.meshgrid(np.linspace(-0.8, 0.8, 41), np.linspace(-0.8, 0.8, 41))
    keep = u * u + v * v <= 0.64
    u, v = u[keep] * body.half_width_mm, v[keep] * body.half_depth_mm
    local = np.column_stack([u, v, body.plate(u, v, upper=upper)])
    return np.asarray(local @ body.frame.axes.T + body.frame.centre)


def fit_plane(points: Points) -> tuple[Points, Points]:
    """Fit a plane by total least squares: centroid and unit normal."""
    centre = points.mean(axis=0)
    return centre, np.linalg.svd(points - centre, full_matrices=False)[2][2]


def disc_plane(anatomy: Anatomy) -> DiscPlane:
    """Return the bisector of the disc's two faces, each fitted by total least squares in patient space."""
    faces = [
        anatomy.patient_pose.to_lps(plate_points(anatomy.column.bodies[name], upper=upper))
        for name, upper in (("l4", False), ("l5", True))
    ]
    (c4, n4), (c5, n5) = (fit_plane(face) for face in faces)
    n4, n5 = (n if n @ (c4 - c5) > 0 else -n for n in (n4, n5))
    normal = (n4 + n5) / np.linalg.norm(n4 + n5)
    point = (c4 + c5) / 2
    return DiscPlane(_point(point), _point(normal))


def _point(p: Points) -> tuple[float, float, float]:
    return float(p[0]), float(p[1]), float(p[2])


def enclosed_area(contour: Points) -> float:
    """Return the area inside an outline (n, 2), mm²."""
    x, y = contour[:, 0], contour[:, 1]
    return abs(float(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1)))) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Outlines of every structure in the disc plane."""

    plane: DiscPlane
    outlines: Mapping[StructureId, tuple[Points, ...]]
    """Per structure (n, 2) points in mm along (left, back) from the plane's point, largest outline first."""

    def lps(self, ab: Points) -> Points:
        """Transform plane coordinates (..., 2) to LPS points (..., 3), mm."""
        left, back = self.plane.axes
        return np.asarray(self.plane.point_lps + ab[..., :1] * left + ab[..., 1:] * back)


def cut_sections(anatomy: Anatomy, plane: DiscPlane, raster_mm: float = RASTER_MM) -> Sections:
    """Cut all structures by the plane."""
    ticks = np.arange(-_HALF_MM, _HALF_MM + raster_mm / 2, raster_mm)
    left, back = plane.axes
    outlines: dict[StructureId, list[Points]] = {s.id: [] for s in STRUCTURES}
    a, b = np.meshgrid(ticks, ticks[(ticks > -70) & (ticks < 45)], indexing="ij")
    lps = plane.point_lps + a[..., None] * left + b[..., None] * back
    levels = level_fields(anatomy.strokes, anatomy.patient_pose.to_anatomy(lps))
    start = np.array([a[0, 0], b[0, 0]])
    for structure in STRUCTURES:
        f = np.pad(np.clip(levels[structure.value], -5, 5), 1, constant_values=5.0)
        contours = [(c - 1) * raster_mm + start for c in find_contours(f, 0.0)]  # type: ignore[no-untyped-call]
        kept = [c for c in contours if len(c) > 3 and enclosed_area(c) >= _SMALLEST_MM2]
        outlines[structure.id] = sorted(_outer(kept), key=enclosed_area, reverse=True)
    return Sections(plane, {k: tuple(v) for k, v in outlines.items()})


def _outer(contours: list[Points]) -> list[Points]:
    """Drop outlines of holes: find_contours winds them the other way."""

    def signed(c: Points) -> float:
        return float(np.sum(c[:, 0] * np.roll(c[:, 1], 1) - c[:, 1] * np.roll(c[:, 0], 1)))

    if not contours:
        return []
    sign = np.sign(signed(max(contours, key=enclosed_area)))
    return [c for c in contours if np.sign(signed(c)) == sign]


def nearest_outlines(a: Points, b: Points) -> tuple[float, Points, Points]:
    """Return the shortest distance between two outlines (vertices to segments) and its end points."""
    best = (np.inf, a[0], b[0])
    for source, target, swap in ((a, b, False), (b, a, True)):
        distance, index = cKDTree(target).query(source)
        for i in np.argsort(distance)[:40]:
            j = int(index[i])
            for k in (j - 1, j):
                p, q = target[k % len(target)], target[(k + 1) % len(target)]
                d = q - p
                t = np.clip(((source[i] - p) @ d) / max(d @ d, 1e-12), 0, 1)
                foot = p + t * d
                gap = float(np.linalg.norm(source[i] - foot))
                if gap < best[0]:
                    best = (gap, foot, source[i]) if swap else (gap, source[i], foot)
    return best


def _name(part: int, parts: tuple[Points, ...], trunk: str, branch: str) -> str:
    if len(parts) == 1:
        return trunk
    left = parts[part][:, 0].mean() == max(p[:, 0].mean() for p in parts)
    return f"{'left' if left else 'right'} {branch}"


def _corridor(
    cut: Sections, vessel: StructureId, side: float, trunk: str, branch: str
) -> TrueValue:
    disc = cut.outlines["ivd"]
    middle = disc[0][:, 0].mean() if disc else 0.0
    muscle = [p for p in cut.outlines["pm"] if side * (p[:, 0].mean() - middle) > 0]
    parts = cut.outlines[vessel]
    if not muscle or not parts:
        return TrueValue(None, note="no section in the plane")
    distances = [(*nearest_outlines(muscle[0], p), n) for n, p in enumerate(parts)]
    gap, on_muscle, on_vessel, n = min(distances, key=lambda d: d[0])
    ends = cut.lps(np.stack([on_muscle, on_vessel]))
    value = 0.0 if gap < _TOUCH_MM else gap
    note = f"{'left' if side > 0 else 'right'} psoas to {_name(n, parts, trunk, branch)}"
    return TrueValue(value, (_point(ends[0]), _point(ends[1])), note, len(parts))


def _diameter(cut: Sections, vessel: StructureId, trunk: str, branch: str) -> TrueValue:
    parts = cut.outlines[vessel]
    if not parts:
        return TrueValue(None, note="no section in the plane")
    best: tuple[float, Points, int] = (0.0, np.zeros((2, 2)), 0)
    for n, part in enumerate(parts):
        hull = part[ConvexHull(part).vertices]
        between = cdist(hull, hull)
        i, j = np.unravel_index(int(np.argmax(between)), between.shape)
        if between[i, j] > best[0]:
            best = (float(between[i, j]), hull[[i, j]], n)
    ends = cut.lps(best[1])
    return TrueValue(
        best[0],
        (_point(ends[0]), _point(ends[1])),
        _name(best[2], parts, trunk, branch),
        len(parts),
    )


def measure_truth(
    anatomy: Anatomy, plane: DiscPlane, raster_mm: float = RASTER_MM
) -> dict[str, TrueValue]:
    """Measure OC, DAA, DIVC and PI in mm with end points.

    OC: left psoas to the nearest artery. PI: right psoas to the nearest vein. DAA, DIVC: largest
    Feret diameter of the largest section of arteries and veins. 0 means touch.
    """
    cut = cut_sections(anatomy, plane, raster_mm)
    artery, vein = (
        ("abdominal aorta", "common iliac artery"),
        ("inferior vena cava", "common iliac vein"),
    )
    return {
        "OC": _corridor(cut, "aa", 1.0, *artery),
        "DAA": _diameter(cut, "aa", *artery),
        "DIVC": _diameter(cut, "ivc", *vein),
        "PI": _corridor(cut, "ivc", -1.0, *vein),
    }


def disc_centres(anatomy: Anatomy) -> dict[str, tuple[float, float, float]]:
    """Return the centre of every disc of the column in LPS mm, named l45, l5s1, l34, …"""
    return {
        name: _point(anatomy.patient_pose.to_lps(disc.frame.centre))
        for name, disc in anatomy.column.discs.items()
        if name != "s1s2"
    }


def label_volumes_ml(labels: Array, affine: Points) -> dict[str, float]:
    """Return the voxel count times voxel volume per structure."""
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    counts = np.bincount(labels.ravel(), minlength=9)
    return {s.id: round(float(counts[BY_ID[s.id].value] * voxel), 4) for s in STRUCTURES}


def describe_phantom(anatomy: Anatomy, contrast: Contrast, scan: Scan) -> dict[str, Any]:
    """Return everything drawn for one case, for its card."""
    column = anatomy.column
    return {
        "seed": anatomy.seed,
        "person": asdict(anatomy.person),
        "disease": asdict(anatomy.disease),
        "targets": asdict(anatomy.targets),
        "pose": asdict(anatomy.pose),
        "mirror": anatomy.patient_pose.mirror,
        "vessel_kind": anatomy.vessels,
        "grades": dict(column.grades),
        "vessels": {
            n: t.drawn() for n, t in zip(("arteries", "veins"), anatomy.trees, strict=True)
        },
        "contrast": {
            "weighting": contrast.weighting,
            "equivalent_te_ms": contrast.equivalent_te_ms,
            "randomised": contrast.randomised,
            "signals": {k: round(v, 4) for k, v in contrast.signals.items()},
        },
        "scan": asdict(scan),
    }
