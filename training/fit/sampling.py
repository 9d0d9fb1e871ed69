"""Deterministic sampler: (seed, number) to case and crop size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from model.grid import MULTIPLE
from training.data.cases import Case, load_case
from training.fit.augment import SLAB_COLUMNS, Sample, Shape, augmented_sample
from training.fit.recipe import Recipe

PHANTOM_SLABS: Final = 0.12
"""Share of phantom samples that are cut to a sagittal slab."""


@lru_cache(maxsize=96)
def _cached(path: Path) -> Case:
    return load_case(path)


def _shape(recipe: Recipe, case: Case, *, narrow: bool, rng: np.random.Generator) -> Shape:
    """Return the sample's shape; a slab keeps its own width, rounded up, as in the service's window."""
    if narrow:
        deep, high, _ = recipe.narrow
        return deep, high, -(-case.image.shape[2] // MULTIPLE) * MULTIPLE
    return recipe.crops[int(rng.integers(len(recipe.crops)))]


def _as_slab(case: Case, rng: np.random.Generator) -> Case:
    """Return a phantom cut to a sagittal slab, so that its kind does not follow from its shape."""
    middle = case.image.shape[2] // 2 + int(rng.integers(-6, 7))
    half = int(rng.integers(10, 17))
    deep, high = case.image.shape[:2]
    return case.cropped((0, 0, max(0, middle - half)), (deep, high, middle + half))


def draw_sample(
    recipe: Recipe, phantoms: Sequence[Path], slabs: Sequence[Path], number: int
) -> tuple[Case, Sample]:
    """Draw the sample with this number; the same number gives the same sample."""
    rng = np.random.default_rng((recipe.seed, number))
    from_phantom = bool(phantoms) and (not slabs or rng.random() < recipe.phantom_share)
    case = _cached(_pick(phantoms if from_phantom else slabs, rng))
    if from_phantom and rng.random() < PHANTOM_SLABS:
        case = _as_slab(case, rng)
    if recipe.other_discs and rng.random() < recipe.other_discs and (discs := case.other_discs()):
        case = case.at_disc(discs[int(rng.integers(len(discs)))])
    narrow = case.image.shape[2] < SLAB_COLUMNS
    shape = _shape(recipe, case, narrow=narrow, rng=rng)
    return case, augmented_sample(case, shape, (recipe.seed, number, 7), recipe.strength)


def _pick(paths: Sequence[Path], rng: np.random.Generator) -> Path:
    return paths[int(rng.integers(len(paths)))]
