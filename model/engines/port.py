"""The port of an engine: one patch in, class logits out; and the options from which one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dicomseg.volume import Array
from model.patch import Interpolation, Patch

ENGINES: Final = ("auto", "torch", "openvino")
DEVICES: Final = ("auto", "cpu", "cuda")
PRECISIONS: Final = ("auto", "float32")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The keys of `[model]` that choose an engine.

    engine: auto is torch where there is CUDA, else OpenVINO, else torch.
    device: auto is CUDA where there is a device, else the CPU.
    threads: 0 leaves the choice to torch.
    precision: auto is 16-bit floats where they pay (CUDA), else float32.
    cache: folder of converted networks; None keeps none.
    """

    engine: str = "auto"
    device: str = "auto"
    threads: int = 0
    precision: str = "auto"
    cache: Path | None = None


class Engine(Protocol):
    """Runs the segmentation network on patches.

    name: of the engine and device, as results carry it, e.g. "openvino-cpu".
    precision: in which it really computes, e.g. "float32".
    interpolation: how its patches have to be cut.
    """

    name: str
    precision: str
    interpolation: Interpolation

    def warm(self, shape: Sequence[int]) -> None:
        """Prepare for patches of this shape (d, h, w), so that the first one does not wait for it.

        Raises:
            EngineFailed: the network cannot run on this shape.
        """
        ...

    def run(self, patch: Patch) -> Array:
        """Return class logits (channels, d/f, h/f, w/f) float32, contiguous and finite, f = 1 or 2.

        Axes (slices, rows, columns) as in the patch, channels as in `dicomseg.structures`, 0 is background. Coarse
        voxel n is centred at index f·n + (f − 1)/2 of the patch.

        Raises:
            EngineFailed: values that are not finite, or a shape that cannot be computed.
        """
        ...
