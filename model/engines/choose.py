"""Choose the engine of this machine; torch is looked for, and imported only where it may run on a GPU."""

from __future__ import annotations

import ctypes
import importlib
from importlib.util import find_spec
from typing import Final, Literal

from model.engines.port import DEVICES, ENGINES, PRECISIONS, EngineOptions
from model.errors import EngineError

Choice = Literal["openvino", "torch-cpu", "torch-cuda"]

INSTALL_TORCH: Final = "install it with `make install-gpu`, or pip's extra gpu"
DRIVER: Final = "libcuda.so.1"
"""Library of NVIDIA's driver, without which torch has no CUDA device."""


def choose_engine(options: EngineOptions) -> tuple[Choice, str]:
    """Return the engine to run, and one line about a GPU that is left unused, else empty.

    auto is torch on a CUDA device, else OpenVINO. Without the driver's library torch is not imported to ask for a
    device: that takes a second and 200 MB.

    Raises:
        EngineError: an unknown word, torch requested and not installed, or CUDA without a device.
    """
    _check_words(options)
    if options.device == "cuda":
        if options.engine == "openvino":
            raise EngineError("engine openvino runs on the CPU; set [model] device to auto or cpu")
        if not has_torch():
            raise EngineError(f"device cuda needs torch, which is not installed; {INSTALL_TORCH}")
        if not _has_cuda():
            raise EngineError("device cuda: no CUDA device here; set [model] device to auto or cpu")
        return "torch-cuda", ""
    if options.engine == "openvino":
        return "openvino", ""
    if options.engine == "torch" and not has_torch():
        raise EngineError(
            f"engine torch: torch is not installed; {INSTALL_TORCH}, or set [model] engine to auto"
        )
    if options.device == "auto" and _has_driver():
        if not has_torch():
            return (
                "openvino",
                f"the NVIDIA GPU is not used: torch is not installed; {INSTALL_TORCH}",
            )
        if _has_cuda():
            return "torch-cuda", ""
    return ("torch-cpu" if options.engine == "torch" else "openvino"), ""


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    return find_spec("torch") is not None


def _has_driver() -> bool:
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _has_cuda() -> bool:
    return bool(importlib.import_module("torch").cuda.is_available())


def _check_words(options: EngineOptions) -> None:
    for key, value, known in (
        ("engine", options.engine, ENGINES),
        ("device", options.device, DEVICES),
        ("precision", options.precision, PRECISIONS),
    ):
        if value not in known:
            raise EngineError(
                f"{key} {value!r} is unknown; set [model] {key} to {', '.join(known[:-1])} or {known[-1]}"
            )
