"""Two answers that need no network, so that a score can be seen to mean something.

mean shape: what most other cases hold at each place about the level, laid on the true level.
threshold: the structure whose grey values in other cases resemble the voxel's most, all structures and
the background held equally likely. Both know the true level and look at its window only, and both learn
from a handful of other patients' cases of the same source. Grey values are z-scored in the window, as
the network sees them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from dicomseg.structures import BY_ID, CHANNELS, StructureId
from dicomseg.volume import Array, Volume
from model.window import PAPER_SHAPE
from training.cases import Case, load_case
from training.errors import CaseUnreadable
from training.metrics import dice

Baseline = Literal["mean_shape", "threshold"]
NAMES: Final[tuple[Baseline, ...]] = ("mean_shape", "threshold")
TEACHERS: Final = 8
"""How many other cases a baseline learns from."""
LEAST_TEACHERS: Final = 2
UNKNOWN: Final = 255
"""Label of a voxel that a teacher's image does not hold."""
BINS: Final = 96
RANGE: Final = (-3.0, 5.0)
"""Grey values in standard deviations of the window; what lies outside falls into the outermost bin."""
SOFTEN: Final = 1e-4
"""Added to every bin's share, so that an empty bin does not forbid a structure."""


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """What one case teaches: its labels in a box about its level, and grey values per class.

    around: uint8 labels of the paper's window, `UNKNOWN` outside the image. shares: (channels, bins)
    share of each class's voxels per bin of z-scored grey value; NaN rows for absent classes.
    """

    case_id: str
    patient_id: str
    source: str
    labelled: tuple[StructureId, ...]
    around: Array
    shares: Array


def place_of(case: Case) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the window about the true level and the case overlap: slices of the case, of the window."""
    at = Volume(case.labels, case.affine).to_index(np.array(case.level_centre_lps))
    first = np.round(at).astype(int) - np.array(PAPER_SHAPE) // 2
    size = case.labels.shape
    low = [max(0, int(f)) for f in first]
    high = [
        max(a, min(n, int(f) + w)) for a, f, n, w in zip(low, first, size, PAPER_SHAPE, strict=True)
    ]
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    here = tuple(slice(a - int(f), b - int(f)) for a, b, f in zip(low, high, first, strict=True))
    return there, here


def binned(image: Array) -> Array:
    """Bin 0…`BINS` − 1 of each voxel's grey value, z-scored over the voxels given."""
    values = image.astype(np.float32)
    scored = (values - values.mean()) / max(float(values.std()), 1e-6)
    low, high = RANGE
    return np.asarray(np.clip((scored - low) * (BINS / (high - low)), 0, BINS - 1), np.uint8)


def teacher(case: Case) -> Teacher:
    """Learn from one case."""
    there, here = place_of(case)
    around = np.full(PAPER_SHAPE, UNKNOWN, np.uint8)
    around[here] = case.labels[there]
    pairs = case.labels[there].astype(np.intp) * BINS + binned(case.image[there])
    counts = np.bincount(pairs.ravel(), minlength=CHANNELS * BINS).reshape(CHANNELS, BINS)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
    return Teacher(case.case_id, case.patient_id, case.source, case.labelled, around, shares)


def mean_shape(case: Case, teachers: Sequence[Teacher]) -> Array:
    """Labels (the case's shape) that most teachers hold at each place about the level."""
    votes = np.zeros((CHANNELS, *PAPER_SHAPE), np.uint8)
    for one in teachers:
        for channel in range(CHANNELS):
            votes[channel] += one.around == channel
    out = np.zeros(case.labels.shape, np.uint8)
    there, here = place_of(case)
    out[there] = votes[(slice(None), *here)].argmax(axis=0)
    return out


def threshold(case: Case, teachers: Sequence[Teacher]) -> Array:
    """Labels (the case's shape) by grey value alone; a class that no teacher shows is never given."""
    known = np.stack([t.shares for t in teachers])
    seen = ~np.isnan(known)
    shares = np.where(seen, known, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    shares = np.where(seen.any(axis=0), shares + SOFTEN, 0.0)
    best = shares.argmax(axis=0).astype(np.uint8)
    out = np.zeros(case.labels.shape, np.uint8)
    there, _ = place_of(case)
    out[there] = best[binned(case.image[there])]
    return out


class Baselines:
    """Both baselines for any case of a cohort; a case never learns from its own patient.

    Teachers are drawn from `paths` by name, first come first served, so the same cohort gives the same
    answers.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._teachers: dict[Path, Teacher] = {}

    @cached_property
    def _cards(self) -> dict[Path, tuple[str, str, tuple[str, ...]]]:
        """Patient, source and labelled structures of each case, from its card."""
        return {p: _card(p) for p in self._paths}

    def chosen(self, case: Case) -> list[Path]:
        """Cases that this one learns from."""
        kind = (case.source, tuple(case.labelled))
        same = (p for p, (who, *rest) in self._cards.items() if who != case.patient_id and tuple(rest) == kind)  # fmt: skip
        return [p for _, p in zip(range(TEACHERS), same, strict=False)]

    def digest(self, case: Case) -> str:
        """Stands for the choice of teachers, so that a stored result can be seen to be of another."""
        names = "\n".join(p.stem for p in self.chosen(case))
        return hashlib.sha256(names.encode()).hexdigest()[:16]

    def scores(self, case: Case, counted: Array) -> dict[Baseline, Mapping[StructureId, float]]:
        """Dice of both inside `counted` (bool, the case's shape); empty with fewer than two teachers."""
        paths = self.chosen(case)
        if len(paths) < LEAST_TEACHERS:
            return {}
        for path in paths:
            if path not in self._teachers:
                self._teachers[path] = teacher(load_case(path))
        them = [self._teachers[p] for p in paths]
        answers: dict[Baseline, Array] = {
            "mean_shape": mean_shape(case, them),
            "threshold": threshold(case, them),
        }
        return {name: _dice(case, found, counted) for name, found in answers.items()}


def _card(path: Path) -> tuple[str, str, tuple[str, ...]]:
    try:
        card: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return card["patient_id"], card["source"], tuple(card["labelled"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaseUnreadable(f"{path.stem} in {path.parent}: {error}; prepare it again") from error


def _dice(case: Case, found: Array, counted: Array) -> dict[StructureId, float]:
    out = {}
    for name in case.labelled:
        truth = (case.labels == BY_ID[name].value) & counted
        if truth.any():
            out[name] = dice((found == BY_ID[name].value) & counted, truth)
    return out
