"""From a training run to a bundle: the averaged weights, the level finder and a card about both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from model import bundle, level
from model.level import LevelArchitecture, LevelNet, LevelNets
from model.network import DeepLabV3Plus3D
from model.window import PAPER_SHAPE, SPACING_MM
from training import checkpoint
from training.errors import CheckpointUnreadable, OptionsRefused
from training.fit import CHECKPOINT, RECIPE
from training.recipe import Recipe

DEFAULT_NAME: Final = "lumbar-l45"


@dataclass(frozen=True, slots=True)
class CardFields:
    """What the files themselves do not say.

    created: ISO date of the export. extra: further keys, e.g. `evaluation` and `model_sd_mm` (mm per
    measurement); they may not replace what the export fills in.
    """

    version: str
    created: str
    name: str = DEFAULT_NAME
    extra: Mapping[str, Any] = field(default_factory=dict)


def recipe_of(run: Path) -> Recipe:
    """Read the recipe of a training run.

    Raises:
        CheckpointUnreadable: the run holds no `recipe.json` or no valid one.
    """
    path = run / RECIPE
    try:
        return Recipe.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointUnreadable(f"{path}: {error}; name the folder of a training run") from error


def level_network(path: Path) -> tuple[LevelNet | LevelNets, LevelArchitecture]:
    """Load a level finder and its architecture from `.safetensors` or from a `.pt` of tensors only.

    Raises:
        CheckpointUnreadable: the file is missing, truncated or of another network.
    """
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else checkpoint.load(path)
        members = level.level_members(tensors)
        one = "members.0." if members > 1 else ""
        width, discs = len(tensors[f"{one}enter.0.weight"]), len(tensors[f"{one}head.bias"])
        architecture = LevelArchitecture(width, discs, members)
        network = level.untrained(architecture)
        network.load_state_dict(tensors)
    except CheckpointUnreadable:
        raise
    except Exception as error:
        first = str(error).splitlines()[0]
        raise CheckpointUnreadable(
            f"{path}: {first}; name the weights of this version's level finder"
        ) from error
    return network.eval(), architecture


def averaged_network(run: Path, recipe: Recipe) -> tuple[DeepLabV3Plus3D, int]:
    """Load a run's averaged weights; also the step they stand at.

    Raises:
        CheckpointUnreadable: no checkpoint, or one of another architecture.
    """
    state = checkpoint.load(run / CHECKPOINT)
    network = DeepLabV3Plus3D(recipe.architecture)
    try:
        network.load_state_dict(state["average"])
        return network.eval(), int(state["step"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointUnreadable(
            f"{run / CHECKPOINT} does not fit {RECIPE} ({first}); name the folder of one run"
        ) from error


def card_of(
    recipe: Recipe, step: int, level: LevelArchitecture, fields: CardFields
) -> dict[str, Any]:
    """Return the card before sealing.

    Raises:
        OptionsRefused: an extra key that the export fills in itself.
    """
    card: dict[str, Any] = {
        "name": fields.name,
        "version": fields.version,
        "created": fields.created,
        "architecture": recipe.architecture.to_dict(),
        "level_architecture": level.to_dict(),
        "grid": {"spacing_mm": list(SPACING_MM), "window": list(PAPER_SHAPE)},
        "training": {
            "steps": step,
            "torch": str(torch.__version__),
            "held_out": list(recipe.held_out),
            "recipe": recipe.to_dict(),
        },
    }
    clash = sorted(set(fields.extra) & {*card, "schema", "structures", "digest"})
    if clash:
        raise OptionsRefused(f"the card's {clash[0]!r} is filled in by the export; leave it out")
    return {**card, **fields.extra}


def export(run: Path, level_weights: Path, out: Path, fields: CardFields) -> Path:
    """Write a bundle from a run's averaged weights and a level finder; returns `out`.

    run: folder with `checkpoint.pt` and `recipe.json`. The written bundle is loaded once, so that an
    export that the service would refuse fails here.

    Raises:
        CheckpointUnreadable: run or level weights cannot be read or do not fit.
        BundleError: what was written cannot be loaded.
    """
    recipe = recipe_of(run)
    network, step = averaged_network(run, recipe)
    finder, architecture = level_network(level_weights)
    bundle.write_bundle(out, card_of(recipe, step, architecture, fields), network, finder)
    bundle.load(out, engine="torch", device="cpu")
    return out
