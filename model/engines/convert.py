"""Convert a network of torch to a graph that OpenVINO runs without torch."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from dicomseg.volume import Array
from model.engines.graph_cache import GraphCache
from model.engines.graph_file import ConvertedGraph
from model.engines.openvino_cpu import Graph, OpenVinoGraph, first_line, package
from model.errors import EngineError
from model.networks.coordinates import ENCODER_STRIDE
from model.networks.deeplab import DeepLabV3Plus3D
from model.networks.level_unet import HeatNet
from model.networks.roots_unet import RootsNet

Sizes = list[tuple[int, ...]]
"""Of a network's inputs."""

_EXAMPLE: Final = (16, 16, 16)
"""Image for the conversion; a trace of the full window took up to 100 s and gave the same graph."""
_PROBE: Final = (16, 24, 32)
"""Image on which a graph is compared with the network."""
_HEAT_EXAMPLE: Final = (33, 35, 9)
_HEAT_PROBE: Final = (40, 38, 11)
"""The same of the level network, whose sizes need not be even: odd ones at every step."""


def convert(network: nn.Module) -> ConvertedGraph:
    """Return the network as a graph for inputs of any size, with an image and the network's output for it.

    The network is left as it is.

    Raises:
        EngineError: openvino is missing or damaged, or cannot convert the network.
    """
    openvino = package()
    try:
        parts = _serialised(openvino, convert_to_graph(network.eval()))
    except Exception as error:  # a package of native code that is damaged fails in its own ways
        raise EngineError(f"OpenVINO cannot convert this network: {first_line(error)}") from error
    return _with_probe(network, *parts)


def cached_graph(
    network: nn.Module, *, digest: str, cache: Path | None, threads: int
) -> tuple[OpenVinoGraph, str]:
    """Return the network's graph from the cache, or converted, and checked against the network either way.

    digest: of the bundle that the network came from. Returns also one line when the graph could not be kept.

    Raises:
        EngineError: openvino is missing or damaged, or the graph differs from the network.
    """
    files = GraphCache(cache, digest, package().get_version()) if cache else None
    kept = files.read() if files else None
    if files and kept is not None:
        try:
            return OpenVinoGraph(_with_probe(network.eval(), *kept), threads), ""
        except Exception:  # noqa: BLE001, S110 - a fault of any kind: it is converted again
            pass
    converted = convert(network)
    graph, note = OpenVinoGraph(converted, threads), ""
    if files:
        try:
            files.write(converted.topology, converted.weights)
        except OSError as error:
            note = f"converted network not kept in {files.folder}: {error.strerror}"
    return graph, note


def _with_probe(network: nn.Module, topology: bytes, weights: bytes) -> ConvertedGraph:
    """Add a fixed image of random numbers and what the network computes of it."""
    rng = np.random.default_rng(0)
    sizes = _sizes(network, _HEAT_PROBE if isinstance(network, HeatNet) else _PROBE)
    inputs: tuple[Array, ...] = tuple(
        rng.standard_normal(size).astype(np.float32) for size in sizes
    )
    with torch.inference_mode():
        expected = network(*(torch.from_numpy(array) for array in inputs)).numpy()
    return ConvertedGraph(topology, weights, inputs, np.ascontiguousarray(expected))


def _sizes(network: nn.Module, shape: tuple[int, int, int]) -> Sizes:
    """Return the sizes of the inputs for an image of this shape."""
    if isinstance(network, HeatNet):
        return [(2, 1, *shape)]
    image = (1, 1, *shape)
    if isinstance(network, RootsNet):
        channels, stride = network.architecture.guidance_count, 2
    elif isinstance(network, DeepLabV3Plus3D) and network.position is not None:
        channels, stride = 3, ENCODER_STRIDE
    else:
        return [image]
    return [image, (1, channels, *(n // stride for n in shape))]


def convert_to_graph(network: nn.Module) -> Graph:
    """Return the network as OpenVINO's own model for inputs of any size.

    By the frontend itself: `openvino.convert_model` reports its use to a server of its maker, unasked.
    Runs torch once on a small image, with the threads that torch has.
    """
    decoders: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    frontends: Any = importlib.import_module("openvino.frontend")
    sizes = _sizes(network, _HEAT_EXAMPLE if isinstance(network, HeatNet) else _EXAMPLE)
    # Not inference_mode: the trace cannot keep inference tensors.
    with torch.no_grad(), warnings.catch_warnings():
        # torch.jit, which the frontend uses, is deprecated; the norms look at the image's size.
        warnings.simplefilter("ignore")
        decoder = decoders.TorchScriptPythonDecoder(
            network,
            example_input=tuple(torch.zeros(size) for size in sizes),
            trace_kwargs={"check_trace": False},  # twice the time; the probe checks more
        )
        frontend = frontends.FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape({n: [*size[:2], -1, -1, -1] for n, size in enumerate(sizes)})
    return graph


def _serialised(openvino: Any, graph: Graph) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as folder:
        topology, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        openvino.serialize(graph, topology, weights)
        return topology.read_bytes(), weights.read_bytes()
