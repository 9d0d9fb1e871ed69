"""The networks of a bundle in torch: as they were trained, ready to run, or converted for OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch

from model.bundle.card import LEVEL_WEIGHTS, ROOTS_WEIGHTS, WEIGHTS, read_card
from model.bundle.running import RunningNetworks
from model.engines.coded import is_coded
from model.engines.convert import cached_graph
from model.engines.openvino_cpu import OpenVinoEngine
from model.engines.port import EngineOptions
from model.engines.torch_engine import TorchEngine, infer_heat, infer_roots
from model.errors import BundleError
from model.level.finder import NetworkFinder
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelNet, LevelNets, build_level_network
from model.networks.roots_unet import RootsNet, build_roots_network
from model.roots import RootsRefiner


@dataclass(frozen=True, slots=True)
class TrainedNetworks:
    """The networks as they were trained, ready to infer."""

    segmentation: DeepLabV3Plus3D
    level: LevelNet | LevelNets
    roots: RootsNet | None


def load_network(path: Path) -> DeepLabV3Plus3D:
    """Verify a bundle and return its segmentation network as it was trained, without an engine.

    Raises:
        BundleError: the bundle is not what its card describes, or holds no network.
    """
    card = read_card(path)
    if is_coded(card):
        raise BundleError(f"{path}: holds no network; give a trained bundle")
    return load_networks(path, card).segmentation


def load_networks(folder: Path, card: Mapping[str, Any]) -> TrainedNetworks:
    """Return the networks of a verified bundle.

    Raises:
        BundleError: weights and card do not fit each other.
    """
    try:
        network = DeepLabV3Plus3D(Architecture.from_dict(dict(card["architecture"])))
        network.load_state_dict(_tensors(folder, WEIGHTS))
        level = build_level_network(card["level_architecture"], _tensors(folder, LEVEL_WEIGHTS))
        roots = None
        if "roots_architecture" in card:
            weights = _tensors(folder, ROOTS_WEIGHTS)
            roots = build_roots_network(card["roots_architecture"], weights)
    except (LookupError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        line = str(error).splitlines()[0]
        raise BundleError(
            f"{folder}: weights and card do not fit ({line}); export the bundle again"
        ) from error
    return TrainedNetworks(network.eval(), level, roots)


def run_in_torch(
    folder: Path, card: Mapping[str, Any], options: EngineOptions, device: str
) -> RunningNetworks:
    """Return the networks of a verified bundle, to run in torch; the level finder stays on the CPU.

    device: cpu or cuda.

    Raises:
        BundleError: weights and card do not fit each other.
    """
    _set_threads(options)
    networks = load_networks(folder, card)
    engine = TorchEngine(networks.segmentation, device, options.precision)
    return RunningNetworks(engine, _finder(networks), _roots(networks, device))


def run_converted(folder: Path, card: Mapping[str, Any], options: EngineOptions) -> RunningNetworks:
    """Convert the networks of a verified bundle that holds no graphs; the level finder runs in torch.

    Raises:
        BundleError: weights and card do not fit each other.
        EngineError: openvino is missing or damaged, or a graph differs from its network.
    """
    _set_threads(options)
    networks, digest = load_networks(folder, card), card["digest"]
    threads = options.threads or torch.get_num_threads()
    graph, note = cached_graph(
        networks.segmentation, digest=digest, cache=options.cache, threads=threads
    )
    engine, finder = OpenVinoEngine(graph), _finder(networks)
    if networks.roots is None:
        return RunningNetworks(engine, finder, None, note)
    roots, roots_note = cached_graph(
        networks.roots, digest=f"{digest}-roots", cache=options.cache, threads=threads
    )
    refiner = RootsRefiner(roots.infer, networks.roots.architecture, roots.warm)
    return RunningNetworks(engine, finder, refiner, "; ".join(filter(None, (note, roots_note))))


def _tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(safetensors_torch.load((folder / name).read_bytes()))


def _finder(networks: TrainedNetworks) -> NetworkFinder:
    return NetworkFinder(infer_heat(networks.level))


def _roots(networks: TrainedNetworks, device: str) -> RootsRefiner | None:
    if networks.roots is None:
        return None
    return RootsRefiner(infer_roots(networks.roots, device), networks.roots.architecture)


def _set_threads(options: EngineOptions) -> None:
    if options.threads > 0:
        torch.set_num_threads(options.threads)
