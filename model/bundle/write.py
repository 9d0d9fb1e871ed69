"""Write a bundle: weights, converted graphs and a sealed card in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch
from torch import nn

from model.bundle.card import CARD, LEVEL_WEIGHTS, ROOTS_WEIGHTS, SCHEMA, WEIGHTS, graph_of, seal
from model.engines import coded
from model.engines.convert import convert
from model.networks.level_unet import HeatNet, LevelNet, LevelNets
from model.networks.roots_unet import RootsNet


def write_bundle(
    folder: Path,
    card: Mapping[str, Any],
    network: nn.Module,
    level_network: nn.Module,
    roots: RootsNet | None = None,
    *,
    graphs: bool = False,
) -> Path:
    """Write weights and sealed card; returns the folder.

    card: needs the keys of `REQUIRED`; schema, tables and digest are filled in. graphs: also converts each network,
    so that the bundle runs without torch; takes some seconds.

    Raises:
        EngineError: a network cannot be converted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    modules = {WEIGHTS: network, LEVEL_WEIGHTS: level_network}
    if roots is not None:
        modules[ROOTS_WEIGHTS] = roots
        card = {**card, "roots_architecture": roots.architecture.to_dict()}
    for name, module in modules.items():
        tensors = {
            k: v.detach().to(memory_format=torch.contiguous_format).contiguous()
            for k, v in module.state_dict().items()
        }
        (folder / name).write_bytes(safetensors_torch.save(tensors))
        (folder / graph_of(name)).unlink(missing_ok=True)
        if graphs:
            ends = HeatNet(module) if isinstance(module, LevelNet | LevelNets) else module
            convert(ends).write(folder / graph_of(name))
    return _write_card(folder, card)


def write_coded_bundle(folder: Path) -> Path:
    """Write a bundle without weights whose engine decodes label-coded volumes; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    card = {"name": "label-coded", "version": "1", "architecture": {"name": coded.NAME}}
    return _write_card(folder, card)


def _write_card(folder: Path, card: Mapping[str, Any]) -> Path:
    text = json.dumps(seal({"schema": SCHEMA, **card}, folder), indent=1)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    return folder
