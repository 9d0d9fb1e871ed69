"""Two answers that need no network, so that a score can be seen to mean something.

mean shape: what most other cases hold at each place about the level, laid on the true level.
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
from model.window import PAPER_SHAPE
from training.data.cases import Case, load_case
from training.errors import CaseUnreadable
from training.evaluate.metrics import dice

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
    return Teacher(around, counts)


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


def best_bins(inside: Array, every: Array) -> Array:
    """Bins (bool) whose voxels, taken together, have the highest Dice with a structure.

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
    """Mask (bool, the case's shape) of each structure by grey value alone; masks may overlap."""
    counts = np.sum([t.counts for t in teachers], axis=0)
    there, _ = place_of(case)
    values = binned(case.image[there])
    out = {}
    for name in case.labelled:
        mask = np.zeros(case.labels.shape, bool)
        mask[there] = best_bins(counts[BY_ID[name].value], counts.sum(axis=0))[values]
        out[name] = mask
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
    def _cards(self) -> dict[Path, tuple[str, Kind]]:
        """Patient and kind of each case, from its card."""
        return {p: _card(p) for p in self._paths}

    def chosen(self, case: Case) -> list[Path]:
        """Cases that this one learns from."""
        kind = _kind(case.source, case.labelled, case.card)
        same = (p for p, told in self._cards.items() if told[0] != case.patient_id and told[1] == kind)  # fmt: skip
        return list(islice(same, TEACHERS))

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
        shape = mean_shape(case, them)
        placed = {name: shape == BY_ID[name].value for name in case.labelled}
        return {
            "mean_shape": _dice(case, placed, counted),
            "threshold": _dice(case, threshold(case, them), counted),
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
    case: Case, found: Mapping[StructureId, Array], counted: Array
) -> dict[StructureId, float]:
    out = {}
    for name, mask in found.items():
        truth = (case.labels == BY_ID[name].value) & counted
        if truth.any():
            out[name] = dice(mask & counted, truth)
    return out
