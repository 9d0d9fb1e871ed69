"""Load a bundle: networks, engine and level finder, only when digest and tables match.

Torch is imported only for an engine that runs in it, and for a bundle without converted graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dicomseg.result import ModelError
from dicomseg.segmentation import EngineInfo
from dicomseg.structures import StructureId
from model.bundle.calibration import model_errors, outline_shifts
from model.bundle.card import read_card
from model.bundle.running import RunningNetworks, holds_graphs, run_graphs
from model.engines import coded
from model.engines.choose import INSTALL_TORCH, choose_engine, has_torch
from model.engines.port import Engine, EngineOptions
from model.errors import BundleError, EngineError
from model.level.finder import LevelFinder
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

    engine: auto, torch or openvino. device: auto, cpu or cuda. threads: 0 takes every core.
    precision: auto or float32. cache: folder of the converted networks of a bundle that holds no graphs; None converts each time.

    Raises:
        BundleError: the bundle is not what its card describes.
        EngineError: the engine or device is not available.
    """
    card = read_card(path)
    options = EngineOptions(engine, device, threads, precision, cache)
    networks = (
        RunningNetworks(coded.CodedEngine(), coded.CodedFinder())
        if coded.is_coded(card)
        else _run(path, card, options)
    )
    chosen = networks.engine
    return LoadedModel(
        EngineInfo(card["name"], card["version"], card["digest"], chosen.name, chosen.precision),
        chosen,
        networks.finder,
        card,
        model_errors(card, path),
        networks.note,
        networks.roots,
        outline_shifts(card, path),
    )


def _run(folder: Path, card: Mapping[str, Any], options: EngineOptions) -> RunningNetworks:
    choice, note = choose_engine(options)
    if choice != "openvino":
        return _in_torch(folder, card, options, choice.removeprefix("torch-"))
    try:
        networks = _in_openvino(folder, card, options)
    except EngineError as error:
        if options.engine == "openvino" or not has_torch():
            raise
        networks = _in_torch(folder, card, options, "cpu")
        return replace(networks, note=f"plain torch, several times slower: {error}")
    return replace(networks, note="; ".join(filter(None, (note, networks.note))))


def _in_openvino(folder: Path, card: Mapping[str, Any], options: EngineOptions) -> RunningNetworks:
    if holds_graphs(folder, card):
        return run_graphs(folder, card, options.threads)
    if not has_torch():
        raise BundleError(
            f"{folder}: holds no converted graphs, and torch, which would convert it, is not installed;"
            f" export it again with `lumbar-train export`, or {INSTALL_TORCH}"
        )
    from model.bundle.load_torch import run_converted  # noqa: PLC0415 - the one way to torch

    return run_converted(folder, card, options)


def _in_torch(
    folder: Path, card: Mapping[str, Any], options: EngineOptions, device: str
) -> RunningNetworks:
    from model.bundle.load_torch import run_in_torch  # noqa: PLC0415 - the one way to torch

    return run_in_torch(folder, card, options, device)
