"""Two predictions that need no network, so that a score can be seen to mean something.

mean shape: what most other cases hold at each position about the level, laid on the true level.
threshold: for each structure alone, the grey values that would have given the best Dice in the other
cases. Both know the true level and look at its window only, and both learn from a handful of other
patients' cases of the same source and kind of contrast. Grey values are z-scored in the window, as the
network sees them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from dicomseg.structures import BY_ID, CHANNELS, StructureId
from dicomseg.volume import Array, Volume
from model.grid import PAPER_SHAPE
from training.data.cases import IGNORED, Case, load_case
from training.errors import CaseUnreadable
from training.evaluate.metrics import dice

Baseline = Literal["mean_shape", "threshold"]
NAMES: Final[tuple[Baseline, ...]] = ("mean_shape", "threshold")
TEACHERS: Final = 8
"""How many other cases a baseline learns from."""
MIN_TEACHERS: Final = 2
UNKNOWN: Final = 255
"""Label of a voxel that a teacher's image does not hold."""
BINS: Final = 96
RANGE: Final = (-3.0, 5.0)
"""Grey values in standard deviations of the window; what lies outside falls into the outermost bin."""
Kind = tuple[str, tuple[str, ...], bool]
"""Source, labelled structures and whether the contrast is randomised: cases learn from their own kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """What one case teaches: its labels in a box about its level, and grey values per class.

    around: uint8 labels of the paper's window, `UNKNOWN` outside the image. counts: (channels, bins)
    voxels of each class per bin of z-scored grey value.
    """

    around: Array
    counts: Array


def overlap_with_window(case: Case) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where the window about the true level and the case overlap: slices of the case, of the window."""
    at = Volume(case.labels, case.affine).to_index(np.array(case.level_centre_lps))
    start = np.round(at).astype(int) - np.array(PAPER_SHAPE) // 2
    size = case.labels.shape
    low = [max(0, int(f)) for f in start]
    high = [
        max(a, min(n, int(f) + w)) for a, f, n, w in zip(low, start, size, PAPER_SHAPE, strict=True)
    ]
    of_case = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    of_window = tuple(
        slice(a - int(f), b - int(f)) for a, b, f in zip(low, high, start, strict=True)
    )
    return of_case, of_window


def binned(image: Array) -> Array:
    """Return the bin 0…`BINS` − 1 of each voxel's grey value, z-scored over the voxels given."""
    values = image.astype(np.float32)
    scored = (values - values.mean()) / max(float(values.std()), 1e-6)
    low, high = RANGE
    return np.asarray(np.clip((scored - low) * (BINS / (high - low)), 0, BINS - 1), np.uint8)


def learn(case: Case) -> Teacher:
    """Learn from one case."""
    of_case, of_window = overlap_with_window(case)
    around = np.full(PAPER_SHAPE, UNKNOWN, np.uint8)
    around[of_window] = case.labels[of_case]
    pairs = case.labels[of_case].astype(np.intp) * BINS + binned(case.image[of_case])
    pairs = pairs[case.labels[of_case] != IGNORED]
    counts = np.bincount(pairs.ravel(), minlength=CHANNELS * BINS).reshape(CHANNELS, BINS)
    return Teacher(around, counts)


def mean_shape(case: Case, teachers: Sequence[Teacher]) -> Array:
    """Return the labels (the case's shape) that most teachers hold at each position about the level."""
    votes = np.zeros((CHANNELS, *PAPER_SHAPE), np.uint8)
    for teacher in teachers:
        for channel in range(CHANNELS):
            votes[channel] += teacher.around == channel
    out = np.zeros(case.labels.shape, np.uint8)
    of_case, of_window = overlap_with_window(case)
    out[of_case] = votes[(slice(None), *of_window)].argmax(axis=0)
    return out


def best_bins(inside: Array, every: Array) -> Array:
    """Return the bins (bool) whose voxels, taken together, have the highest Dice with a structure.

    inside: voxels of the structure per bin; every: all voxels per bin. Bins are taken by their share of
    the structure, the purest first, as long as that raises Dice; none for an absent structure.
    """
    purity = inside / np.maximum(every, 1)
    order = np.argsort(-purity, kind="stable")
    taken = np.cumsum(inside[order])
    scores = 2 * taken / np.maximum(np.cumsum(every[order]) + inside.sum(), 1)
    chosen = np.zeros(len(inside), bool)
    if inside.sum():
        chosen[order[: int(scores.argmax()) + 1]] = True
    return chosen


def threshold(case: Case, teachers: Sequence[Teacher]) -> dict[StructureId, Array]:
    """Return the mask (bool, the case's shape) of each structure by grey value alone; masks may overlap."""
    counts = np.sum([t.counts for t in teachers], axis=0)
    of_case, _ = overlap_with_window(case)
    values = binned(case.image[of_case])
    out = {}
    for name in case.labelled:
        mask = np.zeros(case.labels.shape, bool)
        mask[of_case] = best_bins(counts[BY_ID[name].value], counts.sum(axis=0))[values]
        out[name] = mask
    return out


class Baselines:
    """Both baselines for any case of a cohort; a case never learns from its own patient.

    Teachers are taken from `paths` in their order, so the same cohort gives the same predictions.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._teachers: dict[Path, Teacher] = {}

    @cached_property
    def _cards(self) -> dict[Path, tuple[str, Kind]]:
        """Patient and kind of each case, from its card."""
        return {p: _card(p) for p in self._paths}

    def choose_teachers(self, case: Case) -> list[Path]:
        """Return the cases that this one learns from."""
        kind = _kind(case.source, case.labelled, case.card)
        others = (
            path
            for path, (patient, its_kind) in self._cards.items()
            if patient != case.patient_id and its_kind == kind
        )
        return list(islice(others, TEACHERS))

    def digest(self, case: Case) -> str:
        """Return a digest of the choice of teachers, so that a stored result of another choice is recognised."""
        names = "\n".join(p.stem for p in self.choose_teachers(case))
        return hashlib.sha256(names.encode()).hexdigest()[:16]

    def scores(self, case: Case, counted: Array) -> dict[Baseline, Mapping[StructureId, float]]:
        """Return the Dice of both baselines inside `counted` (bool, the case's shape); empty with fewer than two teachers."""
        paths = self.choose_teachers(case)
        if len(paths) < MIN_TEACHERS:
            return {}
        for path in paths:
            if path not in self._teachers:
                self._teachers[path] = learn(load_case(path))
        teachers = [self._teachers[p] for p in paths]
        shape = mean_shape(case, teachers)
        placed = {name: shape == BY_ID[name].value for name in case.labelled}
        return {
            "mean_shape": _dice(case, placed, counted),
            "threshold": _dice(case, threshold(case, teachers), counted),
        }


def _kind(source: str, labelled: Sequence[str], card: Mapping[str, Any]) -> Kind:
    contrast = card.get("contrast")
    randomised = isinstance(contrast, Mapping) and bool(contrast.get("randomised"))
    return source, tuple(labelled), randomised


def _card(path: Path) -> tuple[str, Kind]:
    try:
        card: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return card["patient_id"], _kind(card["source"], card["labelled"], card["card"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaseUnreadable(f"{path.stem} in {path.parent}: {error}; prepare it again") from error


def _dice(
    case: Case, masks: Mapping[StructureId, Array], counted: Array
) -> dict[StructureId, float]:
    out = {}
    for name, mask in masks.items():
        known = counted & (case.labels != IGNORED)
        truth = (case.labels == BY_ID[name].value) & known
        if truth.any():
            out[name] = dice(mask & known, truth)
    return out
