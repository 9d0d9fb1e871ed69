"""Engines: one patch in, class logits out, behind one protocol, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from torch import nn

from dicomseg.volume import Array
from model.engines import coded as oracle
from model.engines.openvino_cpu import OpenVinoEngine
from model.errors import EngineError, EngineFailed
from model.networks.deeplab import places
from model.roots import RootsFinder, RootsNet
from model.window import SPACING_MM, Interpolation, Patch

ENGINES: Final = ("auto", "torch", "openvino")
DEVICES: Final = ("auto", "cpu", "cuda")
PRECISIONS: Final = ("auto", "float32")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What may be asked for, in the words of `[model]`.

    engine: auto is torch where there is CUDA, else OpenVINO, else torch. threads: 0 leaves the choice to
    torch. precision: auto is 16-bit floats where they pay (CUDA), else float32. cache: folder of
    converted networks; None keeps none.
    """

    engine: str = "auto"
    device: str = "auto"
    threads: int = 0
    precision: str = "auto"
    cache: Path | None = None


class Engine(Protocol):
    """What runs the network. `interpolation` is how its patches have to be cut."""

    name: str
    precision: str
    interpolation: Interpolation

    def warm(self, shape: Sequence[int]) -> None:
        """Get ready for patches of this shape, so that the first one does not wait for it."""
        ...

    def run(self, patch: Patch) -> Array:
        """Logits (channels, d/f, h/f, w/f) float32, contiguous and finite, f = 1 or 2."""
        ...


def _with_group_norms(network: nn.Module) -> nn.Module:
    """Replace, in place, each instance norm by the group norm with one channel per group.

    The same function of the same weights, but torch runs it without leaving the channels-last layout:
    with two threads on a shared host the full window took 6.7 instead of 18.1 CPU seconds. Its sums are
    less exact: on noise the logits of the full window moved by 0.0025 at most, on 4 of 100,000 voxels
    the best class changed.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                norm = nn.GroupNorm(child.num_features, child.num_features, eps=child.eps)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
    return network


class TorchEngine:
    """Plain torch: float32 with channels last on the CPU, automatic mixed precision on CUDA.

    The network given becomes the engine's own: its norms, layout and device are changed.
    """

    interpolation: Interpolation = "linear"

    def __init__(self, network: nn.Module, device: str, precision: str = "auto") -> None:
        self._device = torch.device(device)
        self._network = _with_group_norms(network).eval().to(self._device)
        self._network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.name = f"torch-{device}"
        self.precision = "float16" if device == "cuda" and precision == "auto" else "float32"
        if device == "cuda" and self.precision == "float32":
            # By default CUDA's convolutions round float32 to 10 bits (TF32); it holds for the process.
            torch.backends.cudnn.allow_tf32 = False

    def warm(self, shape: Sequence[int]) -> None:
        """Load CUDA's kernels for this shape; the CPU has nothing to prepare."""
        if self._device.type == "cuda":
            empty = np.zeros(tuple(shape), np.float32)
            self.run(Patch(empty, np.ones(empty.shape, bool), np.eye(4), 0.0, 1.0))

    def run(self, patch: Patch) -> Array:
        """Logits at half resolution.

        Raises:
            EngineFailed: logits that are not finite, as from 16-bit numbers that ran over.
        """
        image = torch.from_numpy(np.ascontiguousarray(patch.values))[None, None].to(self._device)
        image = image.to(memory_format=torch.channels_last_3d)
        place = places(patch.values.shape, patch.centre, SPACING_MM)[None].to(self._device)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.float16, enabled=self.precision == "float16"),
        ):
            logits = self._network(image, place)[0].float()
            finite = bool(torch.isfinite(logits).all())
        if not finite:
            raise EngineFailed(
                f"{self.name} ({self.precision}) gave values that are not finite; set [model] device to cpu or check the bundle"
            )
        return np.ascontiguousarray(logits.cpu().numpy())


class OracleEngine:
    """Decodes an intensity-coded patch; see `model.engines.coded`."""

    name = "oracle"
    precision = "exact"
    interpolation: Interpolation = "nearest"

    def warm(self, shape: Sequence[int]) -> None:
        """Nothing to prepare."""

    def run(self, patch: Patch) -> Array:
        """Logits at full resolution; background where the patch holds no data."""
        logits = oracle.decode(patch.raw())
        logits[1:, ~patch.valid] = oracle.FAR
        logits[0, ~patch.valid] = oracle.MOST_MARGIN / 2
        return logits


def choose(network: nn.Module, options: EngineOptions, digest: str) -> tuple[Engine, str]:
    """Make the engine for this machine; the network becomes its own.

    digest: of the bundle, under which the converted network is cached.
    Returns the engine and one line about what could not be had, empty when nothing is amiss.

    Raises:
        EngineError: an unknown word, CUDA where there is none, or OpenVINO asked for and not usable.
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


def roots_finder(
    network: RootsNet, ready: Engine, options: EngineOptions, digest: str
) -> tuple[RootsFinder, str]:
    """Make the roots network run where the engine does; also one line about what could not be had.

    Raises:
        EngineError: OpenVINO asked for and not usable.
    """
    note = ""
    if isinstance(ready, OpenVinoEngine):
        try:
            graph = OpenVinoEngine(
                network, digest=f"{digest}-roots", cache=options.cache, threads=options.threads
            )
        except EngineError as error:
            if options.engine == "openvino":
                raise
            note = f"roots in plain torch, several times slower: {error}"
        else:
            return RootsFinder(graph.answer, network.architecture, graph.warm), graph.note
    device = "cuda" if ready.name == "torch-cuda" else "cpu"
    placed = network.eval().to(device)

    def answer(image: Array, told: Array) -> Array:
        with torch.inference_mode():
            given = [torch.from_numpy(array).to(device) for array in (image, told)]
            return np.asarray(placed(*given).cpu().numpy())

    return RootsFinder(answer, network.architecture), note


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
