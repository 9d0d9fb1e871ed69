"""Write a bundle from a training run or another bundle: weights, level finder, roots network and card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors.torch import load_file

from model.bundle.card import CARD, ROOTS_WEIGHTS, read_card
from model.bundle.load import load_bundle
from model.bundle.load_torch import load_network
from model.bundle.write import write_bundle
from model.grid import PAPER_SHAPE, SPACING_MM
from model.networks.deeplab import DeepLabV3Plus3D
from model.networks.level_unet import (
    LevelArchitecture,
    LevelNet,
    LevelNets,
    member_count,
    untrained_level_network,
)
from model.networks.roots_unet import RootsNet, build_roots_network
from training.errors import CheckpointUnreadable, UsageError
from training.fit import checkpoint
from training.fit.recipe import Recipe
from training.fit.segmentation import CHECKPOINT, RECIPE
from training.fit.weight_average import move_towards

DEFAULT_NAME: Final = "lumbar-l45"
CARRIED: Final = ("licence", "intended_use", "retrained_from", "outline_shifts", "corrections")
"""What a bundle's card holds about the weights themselves, beside their training."""


@dataclass(frozen=True, slots=True)
class CardFields:
    """Fields of the card that the files themselves do not hold."""

    version: str
    created: str
    """ISO date of the export."""
    name: str = DEFAULT_NAME
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys, e.g. `evaluation` and `model_sd_mm` (mm per measurement); they may not replace what the export fills in."""


def read_run_recipe(run: Path) -> Recipe:
    """Read the recipe of a training run.

    Raises:
        CheckpointUnreadable: the run holds no `recipe.json` or no valid one.
    """
    path = run / RECIPE
    try:
        return Recipe.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointUnreadable(f"{path}: {error}; name the folder of a training run") from error


def load_level_network(path: Path) -> tuple[LevelNet | LevelNets, LevelArchitecture]:
    """Load a level finder and its architecture from `.safetensors` or from a `.pt` of tensors only.

    Raises:
        CheckpointUnreadable: the file is missing, truncated or of another network.
    """
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else checkpoint.load(path)
        members = member_count(tensors)
        prefix = "members.0." if members > 1 else ""
        width, discs = len(tensors[f"{prefix}enter.0.weight"]), len(tensors[f"{prefix}head.bias"])
        architecture = LevelArchitecture(width, discs, members)
        network = untrained_level_network(architecture)
        network.load_state_dict(tensors)
    except CheckpointUnreadable:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CheckpointUnreadable(
            f"{path}: {reason}; name the weights of this version's level finder"
        ) from error
    return network.eval(), architecture


def load_averaged_network(run: Path, recipe: Recipe) -> tuple[DeepLabV3Plus3D, int]:
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
        reason = str(error).splitlines()[0]
        raise CheckpointUnreadable(
            f"{run / CHECKPOINT} does not fit {RECIPE} ({reason}); name the folder of one run"
        ) from error


def build_card(
    recipe: Recipe, step: int, level: LevelArchitecture, fields: CardFields
) -> dict[str, Any]:
    """Return the card before sealing.

    Raises:
        UsageError: an extra key that the export fills in itself.
    """
    card: dict[str, Any] = {
        "name": fields.name,
        "version": fields.version,
        "created": fields.created,
        "architecture": recipe.architecture.to_dict(),
        "level_architecture": level.to_dict(),
        "grid": {"spacing_mm": list(SPACING_MM), "window": list(PAPER_SHAPE)},
        "training": _training(recipe, step),
    }
    return _with_extra(card, fields)


def _training(recipe: Recipe, step: int) -> dict[str, Any]:
    return {
        "steps": step,
        "torch": str(torch.__version__),
        "held_out": list(recipe.held_out),
        "recipe": recipe.to_dict(),
    }


def _with_extra(card: Mapping[str, Any], fields: CardFields) -> dict[str, Any]:
    clash = sorted(set(fields.extra) & {*card, "schema", "structures", "digest"})
    if clash:
        raise UsageError(f"the card's {clash[0]!r} is filled in by the export; leave it out")
    return {**card, **fields.extra}


def join_finders(paths: Sequence[Path]) -> tuple[LevelNet | LevelNets, LevelArchitecture]:
    """Load one level finder, or several as one whose networks answer together.

    Raises:
        CheckpointUnreadable: a file is missing, truncated or of another network.
        UsageError: finders of different sizes.
    """
    finders = [load_level_network(path) for path in paths]
    if len(finders) == 1:
        return finders[0]
    sizes = {(a.width, a.discs) for _, a in finders}
    if len(sizes) > 1:
        raise UsageError("the level finders are of different sizes; join those of one size")
    members: list[LevelNet] = []
    for network, _ in finders:
        own = network.members if isinstance(network, LevelNets) else [network]
        members += [cast("LevelNet", member) for member in own]
    width, discs = sizes.pop()
    return LevelNets(members).eval(), LevelArchitecture(width, discs, len(members))


def load_roots_network(path: Path) -> RootsNet:
    """Load a roots network from a bundle, or from what `lumbar-train roots` wrote.

    Raises:
        CheckpointUnreadable: the file is missing, truncated or of another network, or the bundle has none.
        BundleError: the bundle is not what its card says.
    """
    card = read_card(path) if path.is_dir() else None
    if card is not None and "roots_architecture" not in card:
        raise CheckpointUnreadable(f"{path} holds no roots network; train one first")
    try:
        if card is not None:
            return build_roots_network(card["roots_architecture"], load_file(path / ROOTS_WEIGHTS))
        state = checkpoint.load(path)
        return build_roots_network(state["architecture"], state["network"])
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointUnreadable(
            f"{path}: {reason}; name what `lumbar-train roots` wrote"
        ) from error


def _is_bundle(path: Path) -> bool:
    return (path / CARD).exists()


def _load_trained(path: Path) -> tuple[DeepLabV3Plus3D, dict[str, Any]]:
    """Load a run's averaged weights, or a bundle's, and what its card holds about their training."""
    if _is_bundle(path):
        card = read_card(path)
        origin = {k: card[k] for k in ("name", "version", "digest")}
        return load_network(path), {**origin, **card.get("training", {})}
    recipe = read_run_recipe(path)
    network, step = load_averaged_network(path, recipe)
    return network, _training(recipe, step)


def _take_mean(
    network: DeepLabV3Plus3D, card: dict[str, Any], others: Sequence[Path]
) -> dict[str, Any]:
    """Make the network's weights the mean of its own and the others', in place; returns the card with this.

    Its held-out cases are those that all of them held out.
    """
    if not others:
        return card
    training = dict(card.get("training", {}))
    held = set(training.get("held_out", ()))
    joined: list[dict[str, Any]] = []
    for count, path in enumerate(others, start=2):
        other, origin = _load_trained(path)
        if other.architecture != network.architecture:
            raise UsageError(
                f"{path} has the architecture {other.architecture}, not {network.architecture}; only alike weights"
                " have a mean"
            )
        move_towards(network, other, 1 / count)
        held &= set(origin.get("held_out", ()))
        joined.append(origin)
    return {**card, "training": {**training, "held_out": sorted(held), "mean_with": joined}}


def export(
    run: Path,
    level_weights: Sequence[Path],
    out: Path,
    fields: CardFields,
    roots: Path | None = None,
    mean_with: Sequence[Path] = (),
) -> Path:
    """Write a bundle from a run's averaged weights, or those of another bundle, and a level finder; returns `out`.

    run: folder with `checkpoint.pt` and `recipe.json`, or a bundle, whose roots network is kept too unless `roots` names
    another; what its card holds about its training is kept. level_weights: several finders become one. roots: bundle, or
    file of `lumbar-train roots`. mean_with: further runs or bundles; the mean of all weights, each the same share, is
    written: networks that began from the same weights often answer better so than each alone (Wortsman et al., Model
    soups, ICML 2022). The written bundle is loaded once, so that an export that the service would refuse fails here.

    Raises:
        CheckpointUnreadable: run, level weights or roots cannot be read or do not fit.
        UsageError: finders of different sizes, or weights of different architectures to take the mean of.
        BundleError: the bundle to begin with is damaged, or what was written cannot be loaded.
    """
    finder, architecture = join_finders(level_weights)
    if _is_bundle(run):
        network, card = load_network(run), read_card(run)
        if roots is None and "roots_architecture" in card:
            roots = run
        new_card = _carry_over(card, architecture, fields)
    else:
        recipe = read_run_recipe(run)
        network, step = load_averaged_network(run, recipe)
        new_card = build_card(recipe, step, architecture, fields)
    new_card = _take_mean(network, new_card, mean_with)
    own = None if roots is None else load_roots_network(roots)
    write_bundle(out, new_card, network, finder, own, graphs=True)
    for engine in ("torch", "openvino"):
        load_bundle(out, engine=engine, device="cpu")
    return out


def _carry_over(
    card: Mapping[str, Any], level: LevelArchitecture, fields: CardFields
) -> dict[str, Any]:
    """Return the card of a bundle that takes over the segmentation weights of another one, not its evaluation."""
    own = {"name": fields.name, "version": fields.version, "created": fields.created}
    own |= {k: card[k] for k in ("architecture", "training") if k in card}
    carried = {k: card[k] for k in CARRIED if k in card and k not in fields.extra}
    return _with_extra({**own, "level_architecture": level.to_dict(), **carried}, fields)
