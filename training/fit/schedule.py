"""Learning rates as functions of the step alone, so that a resumed training needs to store none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from training.fit.recipe import Recipe

Schedule = Callable[[int], Mapping[str, Any]]
"""What the optimiser's parameter groups take in this step, counted from 0."""

MILESTONE_FACTOR: Final = 0.2
FIRST_SHARE: Final = 1 / 25
LAST_SHARE: Final = 1e-4
"""Of the highest rate at the first step, and of that one at the last."""
BETA1: Final = (0.95, 0.85)
"""At the lowest and at the highest rate: the faster the steps, the shorter the memory."""
BETA2: Final = 0.999


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return a linear warm-up, then a cosine to zero at `recipe.steps`, or a fifth at each milestone."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    if recipe.milestones:
        return recipe.learning_rate * MILESTONE_FACTOR ** sum(step >= m for m in recipe.milestones)
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def one_cycle(highest: float, steps: int, warm_up_share: float) -> Schedule:
    """Return torch's `OneCycleLR` with AdamW's first beta, also of as many steps as make it divide by zero.

    warm_up_share: of the steps until the highest rate.
    """
    lowest = highest / 25
    top, end = warm_up_share * steps - 1, steps - 1

    def rates(step: int) -> Mapping[str, Any]:
        if step <= top:
            done, rate, beta = _share(step, 0.0, top), (lowest, highest), BETA1
        else:
            done, rate, beta = _share(step, top, end), (highest, lowest * LAST_SHARE), BETA1[::-1]
        return {"lr": _eased(*rate, done), "betas": (_eased(*beta, done), BETA2)}

    return rates


def _share(step: int, start: float, end: float) -> float:
    return (step - start) / (end - start) if end > start else 1.0


def _eased(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)
