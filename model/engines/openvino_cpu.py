"""OpenVINO on the CPU in explicit float32: the network as a graph, compiled for one image shape at a time.

The graph is converted once per bundle, without a shape, and kept in a cache; a shape is fixed when it is
compiled, which takes 0.1 to 0.3 s. Before a graph is used, from the cache or fresh, its logits of a small
image are compared with the verified network's: the contents of the cache are never taken on trust.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from dicomseg.volume import Array
from model.engines.graph_cache import GraphCache
from model.errors import EngineError, EngineFailed
from model.grid import SPACING_MM
from model.networks.blocks import ENCODER_STRIDE, coordinate_channels
from model.networks.deeplab import DeepLabV3Plus3D
from model.networks.roots_unet import RootsNet
from model.patch import Interpolation, Patch

NAME: Final = "openvino-cpu"
EXAMPLE: Final = (16, 16, 16)
"""Image for the conversion; a trace of the full window took up to 100 s and gave the same graph."""
PROBE: Final = (16, 24, 32)
"""Image on which a graph is compared with the network."""
PROBE_TOLERANCE: Final = 1e-3
"""Share of the largest logit; seen were 1e-7 with batch norm and 5e-6 with instance norm."""
PRECISIONS: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "f64": "float64"}

Graph = Any
"""An `openvino.Model`; the package is loaded late and may be missing."""


class GraphUnusable(EngineError):
    """A graph that cannot be read or differs from the network; it is converted again."""


class OpenVinoEngine:
    """Runs a network through OpenVINO on the CPU.

    precision: of the compiled graph, read back from it. note: one line when the
    converted graph could not be kept, else empty. The network given is left as it is and not held.
    """

    name = NAME
    interpolation: Interpolation = "linear"

    def __init__(
        self, network: nn.Module, *, digest: str, cache: Path | None, threads: int
    ) -> None:
        """Convert, or take from the cache, and check against the network.

        digest: of the bundle that the network came from. threads: 0 takes as many as torch does.

        Raises:
            EngineError: openvino is missing or damaged, or the graph differs from the network.
        """
        self.note = ""
        self._threads = threads or torch.get_num_threads()
        self._compiled: tuple[tuple[int, ...], Any] | None = None
        self._guidance = guidance_of(network)
        self._package = package()
        try:
            self._core = self._package.Core()
            self._graph = self._ready_graph(network.eval(), digest, cache)
        except EngineError:
            raise
        except Exception as error:  # a package of native code that is damaged fails in its own ways
            raise EngineError(f"OpenVINO cannot run this network: {_first_line(error)}") from error

    def _ready_graph(self, network: nn.Module, digest: str, folder: Path | None) -> Graph:
        cache = GraphCache(folder, digest, self._package.get_version()) if folder else None
        kept = cache.read() if cache else None
        if kept is not None:
            try:
                graph = self._read(*kept)
                self.precision = self._checked(graph, network)
            except Exception:  # noqa: BLE001, S110 - a fault of any kind: it is converted again
                pass
            else:
                return graph
        parts = _serialised(self._package, convert(network))
        graph = self._read(*parts)
        self.precision = self._checked(graph, network)
        if cache:
            try:
                cache.write(*parts)
            except OSError as error:
                self.note = f"converted network not kept in {cache.folder}: {error.strerror}"
        return graph

    def _read(self, topology: bytes, weights: bytes) -> Graph:
        raw = np.frombuffer(weights, np.uint8)
        return self._core.read_model(topology, self._package.Tensor(raw))

    def _checked(self, graph: Graph, network: nn.Module) -> str:
        """Compare the logits of a small image with the network's; returns the precision of the graph."""
        rng = np.random.default_rng(0)
        sizes = _sizes(self._guidance, PROBE)
        inputs = [rng.standard_normal(size).astype(np.float32) for size in sizes]
        compiled = self._compile(graph, PROBE)
        logits = np.asarray(compiled(inputs)[0])
        with torch.inference_mode():
            expected = network(*(torch.from_numpy(array) for array in inputs)).numpy()
        limit = PROBE_TOLERANCE * np.abs(expected).max()
        if logits.shape != expected.shape or not np.abs(logits - expected).max() <= limit:
            raise GraphUnusable(
                "OpenVINO's logits differ from the network's; set [model] engine to torch"
            )
        return effective_precision(compiled)

    def _compile(self, graph: Graph, shape: Sequence[int]) -> Any:
        fixed = graph.clone()
        fixed.reshape(dict(enumerate(_sizes(self._guidance, shape))))
        return self._core.compile_model(
            fixed,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where the CPU has it
                "ENABLE_CPU_PINNING": False,  # two pinned processes would share one core
                "ENABLE_HYPER_THREADING": True,
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": 1,
            },
        )

    def warm(self, shape: Sequence[int]) -> None:
        """Compile for this patch shape (d, h, w), unless it is the shape compiled last.

        One shape is kept: the full window holds up to a gigabyte, and compiling takes 0.1 to 0.3 s.

        Raises:
            EngineFailed: the graph cannot be compiled, or runs in another precision than the engine names.
        """
        wanted = tuple(shape)
        if self._compiled is not None and self._compiled[0] == wanted:
            return
        self._compiled = None
        try:
            compiled = self._compile(self._graph, wanted)
        except RuntimeError as error:
            raise EngineFailed(
                f"{self.name} cannot compile {wanted}: {_first_line(error)}; set [model] engine to torch"
            ) from error
        effective = effective_precision(compiled)
        if effective != self.precision:
            raise EngineFailed(
                f"{self.name} computes {wanted} in {effective}, not {self.precision}; set [model] engine to torch"
            )
        self._compiled = wanted, compiled

    def run(self, patch: Patch) -> Array:
        """Return logits at half resolution, (channels, d/2, h/2, w/2) float32.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be compiled.
        """
        image = np.ascontiguousarray(patch.values, dtype=np.float32)[None, None]
        if self._guidance is None:
            logits: Array = self.infer(image)[0]
        else:
            coordinates = coordinate_channels(patch.values.shape, patch.centre, SPACING_MM)
            logits = self.infer(image, coordinates[None].numpy())[0]
        return logits

    def infer(self, image: Array, *guidance: Array) -> Array:
        """Return the network's logits (1, channels, …) of an image (1, 1, D, H, W) and its guidance, all float32.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be compiled.
        """
        self.warm(image.shape[2:])
        if self._compiled is None:
            raise AssertionError("warm leaves a compiled graph or raises")
        try:
            logits = np.array(self._compiled[1]([image, *guidance])[0])
        except RuntimeError as error:
            raise EngineFailed(f"{self.name} failed: {_first_line(error)}") from error
        # The image too: OpenVINO's ReLU makes 0 of NaN, and the logits would look sound.
        if not (np.isfinite(image).all() and np.isfinite(logits).all()):
            raise EngineFailed(
                f"{self.name} ({self.precision}) met values that are not finite; check the series and the bundle"
            )
        return logits


def guidance_of(network: nn.Module) -> tuple[int, int] | None:
    """Return channels and stride of a network's second input; None for a network that takes the image alone."""
    if isinstance(network, RootsNet):
        return network.architecture.guidance_count, 2
    has_position = isinstance(network, DeepLabV3Plus3D) and network.position is not None
    return (3, ENCODER_STRIDE) if has_position else None


def _sizes(guidance: tuple[int, int] | None, shape: Sequence[int]) -> list[list[int]]:
    """Return the sizes of a network's inputs for an image of this shape."""
    image = [1, 1, *shape]
    if guidance is None:
        return [image]
    channels, stride = guidance
    return [image, [1, channels, *(n // stride for n in shape)]]


def package() -> Any:
    """Return the openvino package.

    Raises:
        EngineError: it is missing or damaged.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineError(
            f"openvino cannot be imported ({_first_line(error)}); install it or set [model] engine to torch"
        ) from error
    except Exception as error:  # half an installation fails in its own ways
        raise EngineError(
            f"openvino is damaged ({_first_line(error)}); install it again or set [model] engine to torch"
        ) from error


def convert(network: nn.Module) -> Graph:
    """Return the network as a graph for images (1, 1, D, H, W), and their guidance, of any size.

    By the frontend itself: `openvino.convert_model` reports its use to a server of its maker, unasked.
    Runs torch once on a small image, with the threads that torch has.
    """
    decoders: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    frontends: Any = importlib.import_module("openvino.frontend")
    sizes = _sizes(guidance_of(network), EXAMPLE)
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
    graph.reshape({n: [1, size[1], -1, -1, -1] for n, size in enumerate(sizes)})
    return graph


def effective_precision(compiled: Any) -> str:
    """Return the lowest floating-point precision in which any step of a compiled graph runs."""
    steps = compiled.get_runtime_model().get_ops()
    names = {str(step.get_rt_info()["runtimePrecision"].astype(str)) for step in steps}
    floats = sorted(names & PRECISIONS.keys(), key=lambda p: (int(p.lstrip("bf")), p))
    return PRECISIONS[floats[0]] if floats else "unknown"


def _serialised(openvino: Any, graph: Graph) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as folder:
        topology, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        openvino.serialize(graph, topology, weights)
        return topology.read_bytes(), weights.read_bytes()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
