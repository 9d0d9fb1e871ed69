"""Draw and image one person: one seed in, image, labels and geometry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from dicomseg.volume import AXIAL, Array, Points, build_affine
from training.phantom.mri import Scan, TissueTexture, Weighting, acquire, draw_contrast, draw_scan
from training.phantom.person import VesselKind
from training.phantom.rasterise import Painted, Raster, paint
from training.phantom.scene import Anatomy, build_anatomy
from training.phantom.truth import describe_phantom

Fov = Literal["axial", "sagittal", "slab", "lumbar"]

GENERATOR_VERSION: Final = "6"
"""2: psoas further in front, veins narrow or wide near the disc only. 3: brighter fat, darker nerves. 4: the coil's
fall. 5: transitional vertebrae in 12 of 100; all other persons as in 4. 6: varied vessels where they are asked for;
all other phantoms as in 5."""
AXIAL_SPACING_MM: Final = (0.8, 0.75, 0.75)
"""Slices, rows, columns of the paper's protocol."""

SAGITTAL: Final = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Columns: slices to the right, rows to the feet, columns to the back."""


def tilted(directions: Points, tilt_deg: float, yaw_deg: float) -> Points:
    """Turn grid directions about x (tilt) and z (yaw)."""
    t, y = np.deg2rad([tilt_deg, yaw_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    about_z = np.array([[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ directions)


def build_raster(
    fov: Fov,
    centre_lps: Points,
    *,
    slices: int | None = None,
    matrix: int | None = None,
    oblique: bool = False,
) -> Raster:
    """Build the grid of an acquisition.

    axial: 128 × 320 × 320 of 0.8 × 0.75 × 0.75 mm about L4/5. sagittal: 20 slices of 0.9 mm,
    300 × 180 mm at 0.75 mm, the entire lumbar spine. slab: the same, 60 mm high, L4/5 only.
    lumbar: the sagittal field as a canonical axial grid, for training the level finder.
    slices, matrix: fewer voxels over the same field (axial) or fewer slices (sagittal).
    oblique: tilted by 12° and turned by 4°.
    """
    if fov == "axial":
        count = slices or 128
        size = matrix or 320
        spacing = np.array([0.8 * 128 / count, 240 / size, 240 / size])
        shape = (count, size, size)
        directions = np.asarray(AXIAL)
        middle = np.asarray(centre_lps) + np.array([0.0, 4.0, 0.0])
    elif fov == "lumbar":
        shape, spacing = (slices or 368, 240, 28), np.array(AXIAL_SPACING_MM)
        directions = np.asarray(AXIAL)
        middle = np.asarray(centre_lps) + np.array([0.0, 2.0, 52.0])
    else:
        count, step = slices or 20, 180 / (matrix or 240)
        rows = round((300.0 if fov == "sagittal" else 100.0) / step)
        shape, spacing = (count, rows, round(180 / step)), np.array([0.9, step, step])
        directions = SAGITTAL
        middle = np.asarray(centre_lps) + np.array([0.0, 2.0, 52.0 if fov == "sagittal" else 0.0])
    if oblique:
        directions = tilted(directions, 12.0, 4.0)
    half = (np.array(shape) - 1) / 2 * spacing
    return Raster(
        shape, build_affine(directions, spacing.tolist(), (middle - directions @ half).tolist())
    )


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """One imaged person: image, labels, geometry, and the anatomy it came from."""

    anatomy: Anatomy
    raster: Raster
    image: Array
    """Grey values (i, j, k), float32."""
    labels: Array
    """Structure values on the same grid, uint8, exact at voxel centres."""
    levels: Array | None
    """Nine signed distances (9, i, j, k) in mm, if asked for."""
    scan: Scan
    card: Mapping[str, Any]

    @property
    def affine(self) -> Points:
        """(4, 4) index (i, j, k) to LPS mm."""
        return self.raster.affine


def _span(fov: Fov) -> tuple[float, float]:
    return (-112.0, 212.0) if fov in ("sagittal", "lumbar") else (-64.0, 64.0)


def draw_anatomy(
    seed: int,
    fov: Fov = "axial",
    *,
    still: bool = False,
    mirror: bool = False,
    vessels: VesselKind = "usual",
) -> Anatomy:
    """Draw the person that a field of view shows; the same seed is the same person, whose vessels are a choice."""
    return build_anatomy(seed, span_mm=_span(fov), still=still, mirror=mirror, vessels=vessels)


def image_anatomy(
    anatomy: Anatomy,
    raster: Raster,
    *,
    weighting: Weighting = "t2",
    randomised: bool = False,
    with_levels: bool = False,
    workers: int = 1,
) -> Phantom:
    """Image a person on a grid."""
    seed = anatomy.seed
    contrast = draw_contrast(
        seed, randomised=randomised, weighting=weighting, vessels=anatomy.vessels
    )
    texture = TissueTexture(seed, contrast, anatomy.person, raster)
    painted: Painted = paint(
        anatomy.strokes, raster, anatomy.patient_pose.to_anatomy, texture, with_levels=with_levels
    )
    scan = draw_scan(seed)
    centre = anatomy.patient_pose.to_lps(np.zeros(3))
    image = acquire(painted.image, raster.affine, scan, centre, seed, workers)
    return Phantom(
        anatomy,
        raster,
        image,
        painted.labels,
        painted.levels,
        scan,
        describe_phantom(anatomy, contrast, scan),
    )


def build(  # noqa: PLR0913 - one argument per choice of person and picture
    seed: int,
    *,
    fov: Fov = "axial",
    slices: int | None = None,
    matrix: int | None = None,
    oblique: bool = False,
    randomised: bool = False,
    with_levels: bool = False,
    vessels: VesselKind = "usual",
) -> Phantom:
    """Draw and image one person; deterministic in its arguments."""
    anatomy = draw_anatomy(seed, fov, vessels=vessels)
    raster = build_raster(
        fov,
        np.asarray(anatomy.patient_pose.to_lps(np.zeros(3))),
        slices=slices,
        matrix=matrix,
        oblique=oblique,
    )
    return image_anatomy(anatomy, raster, randomised=randomised, with_levels=with_levels)
