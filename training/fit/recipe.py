"""Read a training recipe: every choice that decides a run, as data."""

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
    """How the segmentation network is trained."""

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
    """Sample shapes (slices, rows, columns), multiples of 4, of which one is drawn at random."""
    narrow: tuple[int, int, int] = (128, 200, 32)
    """Slices and rows of samples from sagittal slabs, which keep their own width."""
    phantom_share: float = 0.6
    """Share of samples from phantoms."""
    other_discs: float = 0.0
    """Share of samples about another disc than L4/5, of cases with labels of their complete spine."""
    accumulate: int = 2
    """Samples per step."""
    steps: int = 4000
    learning_rate: float = 1.2e-3
    """The highest."""
    weight_decay: float = 1e-4
    warm_up: int = 100
    """Steps of rising learning rate, followed by a cosine to zero at `steps`."""
    milestones: tuple[int, ...] = ()
    """Steps at which the learning rate falls to a fifth, instead of the cosine."""
    norm_steps: int = 300
    """First steps, after which batch normalisation keeps its statistics; later steps train the very function that the
    service runs."""
    norm_samples: int = 0
    """Samples over which the statistics of the averaged weights are taken again before each validation and at the end;
    0 leaves them. For recipes whose `norm_steps` reach their end."""
    clip: float = 3.0
    """Largest norm of all gradients together."""
    ema: float = 0.998
    """Decay of the exponential moving average of the weights."""
    seed: int = 1
    mixed: bool = False
    """Products of matrices in bfloat16 where a CPU has it, so that another CPU gives other weights; on CUDA where
    the GPU computes in bfloat16."""
    held_out: tuple[str, ...] = ()
    """Case ids that are never sampled."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the card, for `recipe.json` and for TOML."""
        values = {**asdict(self), "architecture": self.architecture.to_dict()}
        # Without it as before there was any: runs to resume are compared.
        return {k: v for k, v in values.items() if k != "norm_samples" or v}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build a recipe from `to_dict`'s values; a missing one keeps its default.

        Raises:
            RecipeError: an unknown key.
        """
        _only(values, cls)
        arguments = {k: _tuples(v) for k, v in values.items()}
        if "architecture" in arguments:
            _only({k: v for k, v in arguments["architecture"].items() if k != "name"}, Architecture)
            arguments["architecture"] = Architecture.from_dict(
                {**Architecture().to_dict(), **arguments["architecture"]}
            )
        for name, kind in (("strength", Strength), ("objective", Objective)):
            if name in arguments:
                _only(arguments[name], kind)
                arguments[name] = kind(**arguments[name])
        return cls(**arguments)


def _tuples(value: Any) -> Any:
    """Return lists, also nested and inside tables, as tuples."""
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
    """Read a recipe from TOML; a missing value keeps its default.

    Raises:
        RecipeError: no such file, no TOML, or an unknown key.
    """
    try:
        return Recipe.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecipeError(f"{path}: {error}; correct the recipe") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
