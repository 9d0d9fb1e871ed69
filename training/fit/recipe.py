"""A training recipe: every choice that decides a run, as data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from model.networks.deeplab import Architecture
from training.errors import RecipeError
from training.fit.augment import Strength
from training.fit.loss import Objective


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the network is trained.

    crops: sample shapes (slices, rows, columns), multiples of 4, drawn at random. narrow: slices and
    rows for sagittal slabs, which keep their own width. phantom_share: share of draws from phantoms.
    other_discs: share of draws about another disc than L4/5, where a case has labels of its whole spine.
    accumulate: draws per step. warm_up: steps of rising learning rate, then cosine to zero at `steps`,
    or, where there are milestones, a fifth at each of these steps.
    norm_steps: first steps, after which batch normalisation keeps its statistics; later steps train
    the very function that the service runs. ema: decay of the averaged weights that are shipped.
    mixed: products of matrices in bfloat16 where a CPU has it, so that another CPU gives other weights; on
    CUDA they always are. held_out: case ids never drawn.
    """

    architecture: Architecture = field(default_factory=Architecture)
    strength: Strength = field(default_factory=Strength)
    objective: Objective = field(default_factory=Objective)
    crops: tuple[tuple[int, int, int], ...] = (
        (128, 96, 88),
        (128, 72, 112),
        (104, 112, 96),
        (128, 128, 64),
        (64, 144, 112),
    )
    narrow: tuple[int, int, int] = (128, 200, 32)
    phantom_share: float = 0.6
    other_discs: float = 0.0
    accumulate: int = 2
    steps: int = 4000
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-4
    warm_up: int = 100
    milestones: tuple[int, ...] = ()
    norm_steps: int = 300
    clip: float = 3.0
    ema: float = 0.998
    seed: int = 1
    mixed: bool = False
    held_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card, for `recipe.json` and for TOML."""
        return {**asdict(self), "architecture": self.architecture.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Inverse of `to_dict`; what is left out keeps its default.

        Raises:
            RecipeError: a key that is not known.
        """
        _only(values, cls)
        given = {k: _tuples(v) for k, v in values.items()}
        if "architecture" in given:
            _only({k: v for k, v in given["architecture"].items() if k != "name"}, Architecture)
            given["architecture"] = Architecture.from_dict(
                {**Architecture().to_dict(), **given["architecture"]}
            )
        for name, kind in (("strength", Strength), ("objective", Objective)):
            if name in given:
                _only(given[name], kind)
                given[name] = kind(**given[name])
        return cls(**given)


def _tuples(value: Any) -> Any:
    """Lists, also nested and inside tables, as tuples."""
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


def _only(values: Mapping[str, Any], kind: type[Any]) -> None:
    known = {f.name for f in fields(kind)}
    unknown = set(values) - known
    if unknown:
        names = ", ".join(sorted(known))
        raise RecipeError(f"unknown key {min(unknown)!r} of {kind.__name__}; known are {names}")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML; what is left out keeps its default.

    Raises:
        RecipeError: no such file, no TOML, or an unknown key.
    """
    try:
        return Recipe.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecipeError(f"{path}: {error}; correct the recipe") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
