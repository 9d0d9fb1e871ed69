"""Build one person as a scene: all strokes in order, and the transform from patient to anatomy space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicomseg.volume import Points
from training.phantom.canal import canal_strokes, root_strokes
from training.phantom.column import Column, build_column
from training.phantom.person import (
    Disease,
    Person,
    Pose,
    Targets,
    VesselKind,
    draw_disease,
    draw_person,
    draw_pose,
    draw_targets,
    stream,
)
from training.phantom.rasterise import Stroke
from training.phantom.solids import Shape
from training.phantom.spine import (
    arch_strokes,
    body_strokes,
    bridge_strokes,
    disc_strokes,
)
from training.phantom.surroundings import (
    back_strokes,
    bowel_strokes,
    build_psoas,
    psoas_strokes,
    retroperitoneal_strokes,
    small_strokes,
    torso_strokes,
)
from training.phantom.varied_vessels import (
    build_varied_vessels,
    draw_varied_targets,
    varied_strokes,
)
from training.phantom.vessels import Movable, build_vessels, vessel_strokes

_WAVES = 6
_SHORTEST_MM = 70.0
"""Shortest wavelength of the bend: long enough that it never folds and barely tilts the disc."""


@dataclass(frozen=True, slots=True, eq=False)
class PatientPose:
    """Patient LPS mm ↔ anatomy mm: a rotation, a shift and a smooth bend of the space."""

    rotation: Points
    """Columns are the anatomy's axes in LPS."""
    shift_lps: Points
    """mm."""
    waves: Points
    """Wave vectors (n, 3) in 1/mm."""
    phases: Points
    """(n,)."""
    swings: Points
    """Amplitudes (n, 3), mm."""
    mirror: bool = False
    """The labelled situs variant, x turned round."""

    def to_anatomy(self, lps: Points) -> Points:
        """Transform LPS points (..., 3) to anatomy points (..., 3), mm."""
        a = (np.asarray(lps, dtype=np.float64) - self.shift_lps) @ self.rotation
        if self.mirror:
            a = a * [-1.0, 1.0, 1.0]
        return np.asarray(a + np.sin(a @ self.waves.T + self.phases) @ self.swings)

    def to_lps(self, anatomy: Points) -> Points:
        """Transform anatomy points (..., 3) to LPS points, mm: the bend is undone by a fixed point iteration."""
        goal = np.asarray(anatomy, dtype=np.float64)
        a = goal.copy()
        for _ in range(12):
            a = goal - np.sin(a @ self.waves.T + self.phases) @ self.swings
        if self.mirror:
            a = a * [-1.0, 1.0, 1.0]
        return np.asarray(a @ self.rotation.T + self.shift_lps)


def build_patient_pose(seed: int, pose: Pose, *, mirror: bool = False) -> PatientPose:
    """Build the transform between the anatomy of a pose and the patient."""
    rng = stream(seed, "bend")
    r, p, y = np.deg2rad([pose.roll_deg, pose.pitch_deg, pose.yaw_deg])
    pitch = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    roll = np.array([[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]])
    yaw = np.array([[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]])
    directions = rng.standard_normal((_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = rng.uniform(_SHORTEST_MM, 2.2 * _SHORTEST_MM, _WAVES)
    swings = rng.normal(0, pose.bend_mm / np.sqrt(_WAVES), (_WAVES, 3)) * [1.3, 1.3, 0.6]
    return PatientPose(
        yaw @ roll @ pitch,
        np.asarray(pose.shift_lps, dtype=np.float64),
        directions * (2 * np.pi / lengths)[:, None],
        rng.uniform(0, 2 * np.pi, _WAVES),
        swings,
        mirror,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """A person to be imaged: what was drawn, where it lies, how it is painted."""

    seed: int
    person: Person
    disease: Disease
    targets: Targets
    pose: Pose
    patient_pose: PatientPose
    column: Column
    trees: tuple[Movable, Movable]
    """Arteries and veins."""
    strokes: tuple[Stroke, ...]
    vessels: VesselKind = "usual"


def build_anatomy(
    seed: int,
    *,
    span_mm: tuple[float, float] = (-60.0, 60.0),
    still: bool = False,
    mirror: bool = False,
    vessels: VesselKind = "usual",
) -> Anatomy:
    """Draw one person.

    span_mm: lowest and highest z of interest about the L4/5 disc; whatever is longer is cut there.
    still: no rotation, shift or bend. mirror: left and right exchanged (situs variant).
    vessels: the usual ones, or `varied` (`varied_vessels`); all else of the person is the same.
    """
    person = draw_person(seed)
    disease = draw_disease(seed, person)
    targets, pose = draw_targets(seed), draw_pose(seed, still=still)
    column = build_column(seed, person, disease)
    psoas = build_psoas(seed, person, column, span_mm)
    trees: tuple[Movable, Movable]
    if vessels == "varied":
        targets = draw_varied_targets(seed, targets)
        trees = varied = build_varied_vessels(seed, column, person, targets, psoas, span_mm)
        blood = varied_strokes(seed, column, varied, span_mm)
    else:
        trees = usual = build_vessels(seed, column, person, targets, psoas, span_mm)
        blood = vessel_strokes(seed, column, usual, span_mm)
    return Anatomy(
        seed,
        person,
        disease,
        targets,
        pose,
        build_patient_pose(seed, pose, mirror=mirror),
        column,
        trees,
        (*_strokes_below(seed, person, disease, column, psoas, span_mm), *blood),
        vessels,
    )


def _strokes_below(
    seed: int,
    person: Person,
    disease: Disease,
    column: Column,
    psoas: tuple[Shape, Shape],
    span_mm: tuple[float, float],
) -> tuple[Stroke, ...]:
    """Return all strokes but the vessels' in the order of painting: a later one covers an earlier one."""
    canal, sac = canal_strokes(seed, column, disease)
    fat, roots = root_strokes(seed, column, sac)
    return (
        *torso_strokes(seed, person),
        *retroperitoneal_strokes(seed, person, column),
        *bowel_strokes(seed, person, span_mm),
        *back_strokes(seed, person, column),
        *psoas_strokes(psoas),
        *fat,
        *canal,
        *arch_strokes(seed, column, disease),
        *disc_strokes(seed, column, disease),
        *body_strokes(seed, column, disease),
        *bridge_strokes(column),
        *roots,
        *small_strokes(seed, column, span_mm),
    )
