"""Load a bundle: networks, engine and level finder, only when digest and tables match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch

from dicomseg.result import ModelError
from dicomseg.segmentation import EngineInfo
from dicomseg.structures import StructureId
from model.bundle.calibration import model_errors, outline_shifts
from model.bundle.card import LEVEL_WEIGHTS, ROOTS_WEIGHTS, WEIGHTS, read_card
from model.engines import coded
from model.engines.choose import choose_engine, make_roots_refiner
from model.engines.port import Engine, EngineOptions
from model.errors import BundleError
from model.level.finder import LevelFinder, build_finder
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.roots_unet import RootsNet, build_roots_network
from model.patch import FineLogit, Patch, Prediction
from model.roots import ROOTS, RootsRefiner, scores_with_roots


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A verified bundle, ready to run.

    info: name, version and digest of the bundle, name and precision of the engine, as results carry them.
    engine: the segmentation network: `Patch` (d, h, w) to logits (channels, d/f, h/f, w/f), f = 1 or 2, axes
    (slices to the head, rows to the back, columns to the left).
    finder: the level network: `Volume` of any orientation to the LPS centre of the L4/5 disc.
    card: the verified `card.json`.
    model_errors: the model's part of the uncertainty of each measurement, by its test cases (`model_sd_mm` and
    `model_share` of the card); empty without an evaluation.
    note: one line about an engine that was not available, empty when none was missed.
    roots: the refinement of the L4 roots: `Patch` and logits to one logit (d, h, w); None in a bundle without it.
    outline_shifts: added to the logits of structures before their outlines are measured (ADR 0019); labels do not
    depend on them.
    """

    info: EngineInfo
    engine: Engine
    finder: LevelFinder
    card: Mapping[str, Any]
    model_errors: Mapping[str, ModelError]
    note: str = ""
    roots: RootsRefiner | None = None
    outline_shifts: Mapping[StructureId, float] = field(default_factory=dict)

    def predict(self, patch: Patch, begin: Callable[[str], None] = lambda _: None) -> Prediction:
        """Segment a patch and refine its L4 roots.

        begin: called with "network" and "roots" as each starts.

        Raises:
            EngineFailed: values that are not finite.
        """
        begin("network")
        logits = np.ascontiguousarray(self.engine.run(patch))
        if self.roots is None:
            return Prediction(logits, patch.scores(logits))
        begin("roots")
        fine = self.roots.logits(patch, logits)
        return Prediction(logits, scores_with_roots(patch, logits, fine), FineLogit(ROOTS, fine))


def load_network(path: Path) -> DeepLabV3Plus3D:
    """Verify a bundle and return its segmentation network as it was trained, without an engine.

    Raises:
        BundleError: the bundle is not what its card describes, or holds no network.
    """
    card = read_card(path)
    if _is_coded(card):
        raise BundleError(f"{path}: holds no network; give a trained bundle")
    return _networks(path, card)[0]


def load_bundle(
    path: Path,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int = 0,
    precision: str = "auto",
    cache: Path | None = None,
) -> LoadedModel:
    """Verify a bundle and make it ready.

    engine: auto, torch or openvino. device: auto, cpu or cuda. threads: 0 leaves the choice to torch.
    precision: auto or float32. cache: folder of converted networks; None converts each time.

    Raises:
        BundleError: the bundle is not what its card describes.
        EngineError: the engine or device is not available.
    """
    card = read_card(path)
    chosen: Engine
    finder: LevelFinder
    refiner = None
    if _is_coded(card):
        chosen, finder, note = coded.CodedEngine(), coded.CodedFinder(), ""
    else:
        network, finder, roots = _networks(path, card)
        options = EngineOptions(engine, device, threads, precision, cache)
        chosen, note = choose_engine(network, options, card["digest"])
        if roots is not None:
            refiner, roots_note = make_roots_refiner(roots, chosen, options, card["digest"])
            note = "; ".join(filter(None, (note, roots_note)))
    info = EngineInfo(card["name"], card["version"], card["digest"], chosen.name, chosen.precision)
    errors, shifts = model_errors(card, path), outline_shifts(card, path)
    return LoadedModel(info, chosen, finder, card, errors, note, refiner, shifts)


def _is_coded(card: Mapping[str, Any]) -> bool:
    return card["architecture"].get("name") in coded.NAMES


def _networks(
    folder: Path, card: Mapping[str, Any]
) -> tuple[DeepLabV3Plus3D, LevelFinder, RootsNet | None]:
    try:
        network = DeepLabV3Plus3D(Architecture.from_dict(dict(card["architecture"])))
        network.load_state_dict(safetensors_torch.load((folder / WEIGHTS).read_bytes()))
        weights = safetensors_torch.load((folder / LEVEL_WEIGHTS).read_bytes())
        finder = build_finder(card["level_architecture"], weights)
        roots = _roots_network(folder, card)
    except (LookupError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        line = str(error).splitlines()[0]
        raise BundleError(
            f"{folder}: weights and card do not fit ({line}); export the bundle again"
        ) from error
    return network.eval(), finder, roots


def _roots_network(folder: Path, card: Mapping[str, Any]) -> RootsNet | None:
    if "roots_architecture" not in card:
        return None
    weights = safetensors_torch.load((folder / ROOTS_WEIGHTS).read_bytes())
    return build_roots_network(card["roots_architecture"], weights)
