"""A training recipe: every choice that decides a run, as data."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from model.network import Architecture
from training.augment import Strength


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the network is trained.

    crops: sample shapes (slices, rows, columns), multiples of 4, drawn at random; narrow: the shape for
    sagittal slabs. wide: shapes as large as the service's window and their share of draws, because
    instance normalisation answers differently when it sees more of the body. phantom_share: share of
    draws from phantoms. accumulate: draws per step. warm_up: steps of rising learning rate, then
    cosine to zero at `steps`. ema: decay of the averaged weights that are shipped. held_out: case ids
    never drawn.
    """

    architecture: Architecture = field(default_factory=Architecture)
    strength: Strength = field(default_factory=Strength)
    crops: tuple[tuple[int, int, int], ...] = ((40, 112, 112), (32, 128, 128), (28, 128, 144))
    narrow: tuple[int, int, int] = (80, 144, 32)
    wide: tuple[tuple[int, int, int], ...] = ((40, 240, 180), (128, 160, 120))
    wide_share: float = 0.0
    phantom_share: float = 0.6
    accumulate: int = 1
    steps: int = 2400
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    warm_up: int = 60
    clip: float = 3.0
    ema: float = 0.995
    seed: int = 1
    held_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card and for TOML."""
        return {**asdict(self), "architecture": self.architecture.to_dict()}


def read(path: Path) -> Recipe:
    """Read the scalar settings of a recipe from TOML; unknown keys raise TypeError."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {f.name for f in fields(Recipe)}
    unknown = set(values) - known
    if unknown:
        raise TypeError(
            f"{path}: unknown key {min(unknown)!r}; known are {', '.join(sorted(known))}"
        )
    if "architecture" in values:
        values["architecture"] = Architecture.from_dict(values["architecture"])
    if "strength" in values:
        values["strength"] = Strength(**values["strength"])
    for name in ("crops", "wide", "narrow", "held_out"):
        if name in values:
            values[name] = tuple(tuple(v) if isinstance(v, list) else v for v in values[name])
    return Recipe(**values)
