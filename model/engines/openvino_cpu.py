"""OpenVINO on the CPU in explicit float32: the network as a graph, compiled for one image shape at a time.

The graph is converted once per bundle, without a shape, and kept in a cache; a shape is fixed when it is
compiled, which takes 0.1 to 0.3 s. Before a graph is used, from the cache or fresh, it has to answer a
small image as the verified network does: what lies in the cache is never taken on trust.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from dicomseg.volume import Array
from model.errors import EngineError, EngineFailed
from model.networks.deeplab import STRIDE, DeepLabV3Plus3D, places
from model.roots import RootsNet
from model.window import SPACING_MM, Interpolation, Patch

NAME: Final = "openvino-cpu"
EXAMPLE: Final = (16, 16, 16)
"""Image for the conversion; a trace of the full window took up to 100 s and gave the same graph."""
PROBE: Final = (16, 24, 32)
"""Image that a graph has to answer as the network does."""
PROBE_TOLERANCE: Final = 1e-3
"""Share of the largest logit; seen were 1e-7 with batch norm and 5e-6 with instance norm."""
PRECISIONS: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "f64": "float64"}

Graph = Any
"""An `openvino.Model`; the package is loaded late and may be missing."""


class GraphUnusable(EngineError):
    """A graph that cannot be read or does not answer as the network; it is converted again."""


@dataclass(frozen=True, slots=True)
class GraphCache:
    """Converted graphs in a folder, one file for each bundle digest and version of OpenVINO.

    A file is a zip, so that a damaged one fails its checksum, and names its digest inside.
    """

    folder: Path
    digest: str
    version: str

    @property
    def path(self) -> Path:
        """Where the graph of this bundle lies."""
        return self.folder / f"{self.digest}-openvino-{self.version.replace('/', '_')}.zip"

    def read(self) -> tuple[bytes, bytes] | None:
        """Topology and weights; None when there is no file, or one that is damaged or another's."""
        try:
            with zipfile.ZipFile(self.path) as file:
                if json.loads(file.read("about.json")) != self._about():
                    return None
                return file.read("graph.xml"), file.read("graph.bin")
        except (OSError, ValueError, LookupError, zipfile.BadZipFile, NotImplementedError):
            return None

    def write(self, topology: bytes, weights: bytes) -> None:
        """Put the graph there whole or not at all. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w") as file:
                file.writestr("about.json", json.dumps(self._about()))
                file.writestr("graph.xml", topology)
                file.writestr("graph.bin", weights)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _about(self) -> dict[str, str]:
        return {"digest": self.digest, "openvino": self.version}


class OpenVinoEngine:
    """Runs a network through OpenVINO on the CPU.

    precision: what the compiled graph really computes in, read back from it. note: one line when the
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
            EngineError: openvino is missing or damaged, or the graph does not answer as the network.
        """
        self.note = ""
        self._threads = threads or torch.get_num_threads()
        self._compiled: tuple[tuple[int, ...], Any] | None = None
        self._beside = beside(network)
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
            except Exception:  # noqa: BLE001, S110 - whatever is wrong with it, it is made again
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
        """Compare a small answer with the network's; returns the precision it was computed in."""
        rng = np.random.default_rng(0)
        sizes = _sizes(self._beside, PROBE)
        given = [rng.standard_normal(size).astype(np.float32) for size in sizes]
        compiled = self._compile(graph, PROBE)
        answer = np.asarray(compiled(given)[0])
        with torch.inference_mode():
            expected = network(*(torch.from_numpy(array) for array in given)).numpy()
        limit = PROBE_TOLERANCE * np.abs(expected).max()
        if answer.shape != expected.shape or not np.abs(answer - expected).max() <= limit:
            raise GraphUnusable(
                "OpenVINO's answer is not the network's; set [model] engine to torch"
            )
        return effective_precision(compiled)

    def _compile(self, graph: Graph, shape: Sequence[int]) -> Any:
        fixed = graph.clone()
        fixed.reshape(dict(enumerate(_sizes(self._beside, shape))))
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
        """Compile for this patch shape, unless that is what was compiled last.

        One shape is kept: the full window holds up to a gigabyte, and compiling takes 0.1 to 0.3 s.

        Raises:
            EngineFailed: the graph cannot be compiled, or runs in another precision than told.
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
        """Logits at half resolution.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be compiled.
        """
        image = np.ascontiguousarray(patch.values, dtype=np.float32)[None, None]
        if self._beside is None:
            logits: Array = self.answer(image)[0]
        else:
            place = places(patch.values.shape, patch.centre, SPACING_MM)[None].numpy()
            logits = self.answer(image, place)[0]
        return logits

    def answer(self, image: Array, *beside: Array) -> Array:
        """What the network answers to an image (1, 1, D, H, W), and to what it takes beside it, all float32.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be compiled.
        """
        self.warm(image.shape[2:])
        if self._compiled is None:
            raise AssertionError("warm leaves a compiled graph or raises")
        try:
            made = np.array(self._compiled[1]([image, *beside])[0])
        except RuntimeError as error:
            raise EngineFailed(f"{self.name} failed: {_first_line(error)}") from error
        # The image too: OpenVINO's ReLU makes 0 of NaN, and the answer would look like one.
        if not (np.isfinite(image).all() and np.isfinite(made).all()):
            raise EngineFailed(
                f"{self.name} ({self.precision}) met values that are not finite; check the series and the bundle"
            )
        return made


def beside(network: nn.Module) -> tuple[int, int] | None:
    """Channels and stride of what a network takes beside the image; None for nothing."""
    if isinstance(network, RootsNet):
        return network.architecture.told, 2
    told = isinstance(network, DeepLabV3Plus3D) and network.position is not None
    return (3, STRIDE) if told else None


def _sizes(more: tuple[int, int] | None, shape: Sequence[int]) -> list[list[int]]:
    """Sizes of a network's inputs for an image of this shape."""
    image = [1, 1, *shape]
    return [image] if more is None else [image, [1, more[0], *(n // more[1] for n in shape)]]


def package() -> Any:
    """Return the openvino package. Raises `EngineError` where it is missing or damaged."""
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
    """Return the network as a graph for images (1, 1, D, H, W), and what goes beside them, of any size.

    By the frontend itself: `openvino.convert_model` reports its use to a server of its maker, unasked.
    Runs torch once on a small image, with the threads that torch has.
    """
    decoders: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    frontends: Any = importlib.import_module("openvino.frontend")
    sizes = _sizes(beside(network), EXAMPLE)
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
    found = {str(step.get_rt_info()["runtimePrecision"].astype(str)) for step in steps}
    floats = sorted(found & PRECISIONS.keys(), key=lambda p: (int(p.lstrip("bf")), p))
    return PRECISIONS[floats[0]] if floats else "unknown"


def _serialised(openvino: Any, graph: Graph) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as folder:
        topology, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        openvino.serialize(graph, topology, weights)
        return topology.read_bytes(), weights.read_bytes()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
