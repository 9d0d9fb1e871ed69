"""Choose the engine of this machine for a bundle's networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dicomseg.volume import Array
from model.engines.openvino_cpu import OpenVinoEngine
from model.engines.port import DEVICES, ENGINES, PRECISIONS, Engine, EngineOptions
from model.engines.torch_engine import TorchEngine
from model.errors import EngineError
from model.networks.roots_unet import RootsNet
from model.roots import RootsRefiner


def choose_engine(network: nn.Module, options: EngineOptions, digest: str) -> tuple[Engine, str]:
    """Make the engine for this machine; the network becomes its own.

    digest: of the bundle, under which the converted network is cached.
    Returns the engine and one line about an engine that was not available, empty when none was missed.

    Raises:
        EngineError: an unknown word, CUDA without a device, or OpenVINO requested and not usable.
    """
    _check(options)
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    cuda = options.device != "cpu" and torch.cuda.is_available()
    if options.engine == "torch" or (options.engine == "auto" and cuda):
        return TorchEngine(network, "cuda" if cuda else "cpu", options.precision), ""
    try:
        engine = OpenVinoEngine(
            network, digest=digest, cache=options.cache, threads=options.threads
        )
    except EngineError as error:
        if options.engine == "openvino":
            raise
        return TorchEngine(network, "cpu"), f"plain torch, several times slower: {error}"
    return engine, engine.note


def make_roots_refiner(
    network: RootsNet, engine: Engine, options: EngineOptions, digest: str
) -> tuple[RootsRefiner, str]:
    """Run the roots network where the engine runs.

    digest: of the bundle, under which the converted network is cached.
    Returns the refiner and one line about an engine that was not available, empty when none was missed.

    Raises:
        EngineError: OpenVINO requested and not usable.
    """
    note = ""
    if isinstance(engine, OpenVinoEngine):
        try:
            graph = OpenVinoEngine(
                network, digest=f"{digest}-roots", cache=options.cache, threads=options.threads
            )
        except EngineError as error:
            if options.engine == "openvino":
                raise
            note = f"roots in plain torch, several times slower: {error}"
        else:
            return RootsRefiner(graph.infer, network.architecture, graph.warm), graph.note
    device = "cuda" if engine.name == "torch-cuda" else "cpu"
    placed = network.eval().to(device)

    def infer(image: Array, guidance: Array) -> Array:
        with torch.inference_mode():
            inputs = [torch.from_numpy(array).to(device) for array in (image, guidance)]
            return np.asarray(placed(*inputs).cpu().numpy())

    return RootsRefiner(infer, network.architecture), note


def _check(options: EngineOptions) -> None:
    for key, value, known in (
        ("engine", options.engine, ENGINES),
        ("device", options.device, DEVICES),
        ("precision", options.precision, PRECISIONS),
    ):
        if value not in known:
            raise EngineError(
                f"{key} {value!r} is unknown; set [model] {key} to {', '.join(known[:-1])} or {known[-1]}"
            )
    if options.device != "cuda":
        return
    if options.engine == "openvino":
        raise EngineError("engine openvino runs on the CPU; set [model] device to auto or cpu")
    if not torch.cuda.is_available():
        raise EngineError("device cuda: no CUDA device here; set [model] device to auto or cpu")
