"""Who is imaged: the draws of body size, degeneration, disease, pose and measurement targets.

Where a number has no source it is a guess; see docs/model/cohort.md for what varies.
Every organ draws from its own named stream, so that a new organ leaves the others as they were.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Sex = Literal["F", "M"]
VesselKind = Literal["usual", "varied"]
Transition = Literal["none", "sacralised", "lumbarised"]
TRANSITIONAL: Final = 0.116
SACRALISED: Final = 0.82
"""Share of people with a transitional vertebra, and of these with L5 joined to the sacrum: 2,011 complete-spine
MRI (Bhagchandani et al. 2024)."""


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of one organ of one case: the same seed and name give the same numbers."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))


@dataclass(frozen=True, slots=True)
class Person:
    """Body and spine in general."""

    sex: Sex
    age: float
    height_cm: float
    bmi: float
    size: float
    """Factor on widths and depths."""
    height: float
    """Factor on vertebral heights."""
    grades: tuple[int, int, int]
    """Pfirrmann 1…5 of L3/4, L4/5, L5/S1."""
    fat: float
    """0 (slim) … 1 (obese)."""
    muscle_fat: float
    """Share of fat in the back muscles."""
    transition: Transition = "none"
    """The lowest lumbar vertebra is joined to the sacrum, or the first sacral one is free."""


@dataclass(frozen=True, slots=True)
class Disease:
    """Findings at L4/5."""

    herniation: tuple[float, float] | None
    """(x mm, radius mm), or None."""
    stenosis: bool
    slip_mm: float
    """L4 forward."""
    modic: bool
    haemangioma: bool
    osteophytes_mm: float


@dataclass(frozen=True, slots=True)
class Targets:
    """Values in mm that the vessels are moved to; the truth is measured afterwards."""

    oc_mm: float
    daa_mm: float
    divc_mm: float
    pi_mm: float
    bifurcation_mm: float
    confluence_mm: float


@dataclass(frozen=True, slots=True)
class Pose:
    """Position of the person: translation, rotations, bend of the space."""

    shift_lps: tuple[float, float, float]
    """mm."""
    roll_deg: float
    """About the long axis y."""
    pitch_deg: float
    """About x."""
    yaw_deg: float
    """About z."""
    bend_mm: float
    """Amplitude of the smooth random displacement that makes every outline individual."""


def _clip(value: float, low: float, high: float) -> float:
    return float(np.clip(value, low, high))


def draw_person(seed: int) -> Person:
    """Draw body and spine: 60 % as in the paper (23–63 years), 40 % older as in SPIDER."""
    rng = stream(seed, "person")
    sex: Sex = "F" if rng.random() < 0.46 else "M"
    paper = rng.random() < 0.6
    age = _clip(rng.gamma(3.0, 6.0) + 20, 20, 63) if paper else float(rng.uniform(40, 85))
    mean_cm = 175.0 if sex == "M" else 162.0
    height_cm = float(rng.normal(mean_cm, 6.8))
    bmi = _clip(23.8 + 3.5 * rng.standard_normal() + rng.exponential(1.0) - 0.5, 17.5, 38)
    size = height_cm / 170.0 * float(rng.lognormal(0.0, 0.05)) * (1.02 if sex == "M" else 0.985)
    wear = (age - 20.0) / 15.0
    common = rng.standard_normal()
    grades = tuple(
        int(np.clip(np.round(1.0 + 0.75 * wear + shift + 0.6 * common + 0.6 * n), 1, 5))
        for shift, n in zip((-0.3, 0.0, 0.1), rng.standard_normal(3), strict=True)
    )
    fat = _clip((bmi - 18.5) / 14.0 + rng.normal(0, 0.12), 0.0, 1.0)
    logit = -2.4 + 0.03 * (age - 40) + (0.45 if sex == "F" else 0.0) + rng.normal(0, 0.5)
    return Person(
        sex,
        age,
        height_cm,
        bmi,
        _clip(size, 0.84, 1.16),
        _clip(float(rng.normal(height_cm / 170.0, 0.05)), 0.88, 1.13),
        (grades[0], grades[1], grades[2]),
        fat,
        float(1.0 / (1.0 + np.exp(-logit))),
        draw_transition(seed),
    )


def draw_transition(seed: int) -> Transition:
    """Draw whether the vertebra at the border to the sacrum is a transitional one."""
    rng = stream(seed, "transition")
    if rng.random() >= TRANSITIONAL:
        return "none"
    return "sacralised" if rng.random() < SACRALISED else "lumbarised"


def draw_disease(seed: int, person: Person) -> Disease:
    """Draw findings at L4/5, more of them with age."""
    rng = stream(seed, "disease")
    old = person.age > 50
    worn = person.grades[1] >= 3
    herniation = None
    if rng.random() < (0.25 if worn else 0.1):
        herniation = (_clip(rng.normal(0, 6), -14, 14), float(rng.uniform(3, 6.5)))
    return Disease(
        herniation,
        bool(rng.random() < (0.2 if old else 0.05)),
        float(rng.uniform(3, 7)) if old and rng.random() < 0.06 else 0.0,
        bool(worn and rng.random() < 0.2),
        bool(rng.random() < 0.08),
        float(rng.uniform(1, 4)) if worn and rng.random() < 0.5 else 0.0,
    )


def draw_targets(seed: int) -> Targets:
    """Draw distances as in the paper's Table 3, bifurcations 60 % as in the anatomy and 40 % spread."""
    rng = stream(seed, "targets")
    natural = rng.random() < 0.6
    bifurcation = rng.normal(16, 11) if natural else rng.uniform(-12, 36)
    daa = rng.normal(11.0, 1.9) if bifurcation > 4 else rng.normal(17.5, 3.0)
    confluence = rng.normal(-12, 10) if natural else rng.uniform(-34, 14)
    if confluence > bifurcation - 4 and rng.random() < 0.9:
        confluence = bifurcation - float(rng.uniform(6, 26))
    return Targets(
        max(0.0, float(rng.normal(8.9, 5.4))),
        _clip(float(daa), 6.0, 24.0),
        _clip(float(rng.lognormal(np.log(19.9), 0.34)), 8.5, 37.0),
        max(0.0, float(rng.normal(1.75, 1.55))),
        float(bifurcation),
        float(confluence),
    )


def draw_pose(seed: int, *, still: bool = False) -> Pose:
    """Draw how the person lies. still: no rotation, no bend, no shift (for closed-form tests)."""
    if still:
        return Pose((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0)
    rng = stream(seed, "pose")
    shift = rng.uniform([-8, -10, -6], [8, 10, 6]) + np.array([0.0, -4.0, -30.0])
    roll, pitch, yaw = rng.normal(0, [2.0, 4.0, 3.0])
    return Pose(
        (float(shift[0]), float(shift[1]), float(shift[2])),
        _clip(float(roll), -6, 6),
        _clip(float(pitch), -12, 12),
        _clip(float(yaw), -9, 9),
        float(rng.uniform(0.6, 1.5)),
    )
