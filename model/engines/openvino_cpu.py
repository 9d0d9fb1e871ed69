"""OpenVINO on the CPU in explicit float32: a converted network, compiled for one image shape at a time.

A graph has no fixed shape; a shape is fixed when it is compiled, which takes 0.1 to 0.3 s. Compiled without one, a graph
returns its last output again, silently, for an image that is too small for it (OpenVINO 2026.4). Before a graph is used, its
output for a small image is compared with what torch computed: no graph is taken on trust. Needs no torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from dicomseg.volume import Array
from model.engines.graph_file import ConvertedGraph
from model.errors import EngineError, EngineFailed
from model.grid import SPACING_MM
from model.networks.coordinates import coordinate_channels
from model.patch import Interpolation, Patch

NAME: Final = "openvino-cpu"
PROBE_TOLERANCE: Final = 1e-3
"""Share of the largest output; seen were 1e-7 with batch norm and 5e-6 with instance norm."""
PRECISIONS: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "f64": "float64"}

Graph = Any
"""An `openvino.Model`; the package is loaded late and may be missing."""
Shapes = tuple[tuple[int, ...], ...]
"""Of every input."""


class GraphUnusable(EngineError):
    """A converted graph cannot be read, or its output differs from the network's; restore or export the bundle."""


class OpenVinoGraph:
    """A converted network ready to run on inputs of any size.

    precision: of the compiled graph, read back from it.
    """

    def __init__(self, converted: ConvertedGraph, threads: int = 0, *, kept: int = 1) -> None:
        """Read the graph and check it.

        threads: 0 takes `OMP_NUM_THREADS`, else every core this process may use. kept: shapes that stay compiled.

        Raises:
            GraphUnusable: the graph cannot be read, or answers otherwise than torch did.
            EngineError: openvino is missing or damaged.
        """
        self._threads = threads or default_threads()
        self._kept = kept
        self._compiled: dict[Shapes, Any] = {}
        """The shapes used last, oldest first."""
        self._probe_shapes = tuple(tuple(array.shape) for array in converted.inputs)
        openvino = package()
        try:
            self._core = openvino.Core()
            raw = np.frombuffer(converted.weights, np.uint8)
            self._graph = self._core.read_model(converted.topology, openvino.Tensor(raw))
            self.precision = self._checked(converted)
        except EngineError:
            raise
        except Exception as error:  # a package of native code that is damaged fails in its own ways
            raise GraphUnusable(f"OpenVINO cannot run this network: {first_line(error)}") from error

    def _checked(self, converted: ConvertedGraph) -> str:
        """Compare the output for a small image with torch's; return the precision of the graph."""
        compiled = self._compile(self._probe_shapes)
        output = np.asarray(compiled(list(converted.inputs))[0])
        expected = converted.expected
        limit = PROBE_TOLERANCE * np.abs(expected).max()
        if output.shape != expected.shape or not np.abs(output - expected).max() <= limit:
            raise GraphUnusable(
                "OpenVINO's output differs from the network's; set [model] engine to torch"
            )
        return effective_precision(compiled)

    def _compile(self, shapes: Shapes) -> Any:
        fixed = self._graph.clone()
        fixed.reshape({n: list(shape) for n, shape in enumerate(shapes)})
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

    @property
    def has_guidance(self) -> bool:
        """Whether the network takes a second input."""
        return len(self._probe_shapes) > 1

    def warm(self, shape: Sequence[int]) -> None:
        """Compile for images (d, h, w), unless this shape is among those used last.

        Few are kept: the full window holds up to a gigabyte, and compiling takes 0.1 to 0.3 s.

        Raises:
            EngineFailed: the graph cannot be compiled, or runs in another precision than it names.
        """
        image = self._probe_shapes[0]
        # The guidance has a stride of the image.
        sizes = tuple(
            (*probe[:2], *(n * b // a for n, a, b in zip(shape, image[2:], probe[2:], strict=True)))
            for probe in self._probe_shapes
        )
        self._ready(sizes)

    def _ready(self, shapes: Shapes) -> Any:
        known = self._compiled.pop(shapes, None)
        if known is None:
            # Before the next one, which takes as much memory.
            for oldest in list(self._compiled)[: max(0, len(self._compiled) - self._kept + 1)]:
                del self._compiled[oldest]
            known = self._compiled_for(shapes)
        self._compiled[shapes] = known
        return known

    def _compiled_for(self, shapes: Shapes) -> Any:
        wanted = shapes[0][2:]
        try:
            compiled = self._compile(shapes)
        except RuntimeError as error:
            raise EngineFailed(
                f"{NAME} cannot compile {wanted}: {first_line(error)}; set [model] engine to torch"
            ) from error
        effective = effective_precision(compiled)
        if effective != self.precision:
            raise EngineFailed(
                f"{NAME} computes {wanted} in {effective}, not {self.precision}; set [model] engine to torch"
            )
        return compiled

    def infer(self, image: Array, *guidance: Array) -> Array:
        """Return the network's output (N, channels, …) for images (N, 1, D, H, W) and their guidance, all float32.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be compiled.
        """
        inputs = [np.ascontiguousarray(array, np.float32) for array in (image, *guidance)]
        compiled = self._ready(tuple(tuple(array.shape) for array in inputs))
        try:
            output = np.array(compiled(inputs)[0])
        except RuntimeError as error:
            raise EngineFailed(f"{NAME} failed: {first_line(error)}") from error
        # The image too: OpenVINO's ReLU makes 0 of NaN, and the output would look sound.
        if not (np.isfinite(inputs[0]).all() and np.isfinite(output).all()):
            raise EngineFailed(
                f"{NAME} ({self.precision}) met values that are not finite; check the series and the bundle"
            )
        return output


class OpenVinoEngine:
    """Runs the segmentation network's graph, as the port of an engine wants it."""

    name = NAME
    interpolation: Interpolation = "linear"

    def __init__(self, graph: OpenVinoGraph) -> None:
        self._graph = graph
        self.precision = graph.precision

    def warm(self, shape: Sequence[int]) -> None:
        """Compile for this patch shape (d, h, w), unless it is the shape compiled last.

        Raises:
            EngineFailed: the graph cannot be compiled, or runs in another precision than the engine names.
        """
        self._graph.warm(shape)

    def run(self, patch: Patch) -> Array:
        """Return logits at half resolution, (channels, d/2, h/2, w/2) float32.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be compiled.
        """
        image = np.asarray(patch.values, np.float32)[None, None]
        if not self._graph.has_guidance:
            return np.asarray(self._graph.infer(image)[0])
        coordinates = coordinate_channels(patch.values.shape, patch.centre, SPACING_MM)
        return np.asarray(self._graph.infer(image, coordinates[None])[0])


def default_threads() -> int:
    """Return `OMP_NUM_THREADS`, which torch follows too, else the cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else len(os.sched_getaffinity(0))


def package() -> Any:
    """Return the openvino package, without the package that reports its use to its maker.

    Raises:
        EngineError: it is missing or damaged.
    """
    # Not in the lock files; a plain `pip install` brings it. OpenVINO takes a stub where it cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineError(
            f"openvino cannot be imported ({first_line(error)}); install it or set [model] engine to torch"
        ) from error
    except Exception as error:  # half an installation fails in its own ways
        raise EngineError(
            f"openvino is damaged ({first_line(error)}); install it again or set [model] engine to torch"
        ) from error


def effective_precision(compiled: Any) -> str:
    """Return the lowest floating-point precision in which any step of a compiled graph runs."""
    steps = compiled.get_runtime_model().get_ops()
    names = {str(step.get_rt_info()["runtimePrecision"].astype(str)) for step in steps}
    floats = sorted(names & PRECISIONS.keys(), key=lambda p: (int(p.lstrip("bf")), p))
    return PRECISIONS[floats[0]] if floats else "unknown"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
