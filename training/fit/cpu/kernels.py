"""Compile and load the kernels of training steps on a CPU.

torch's gradients of depthwise 3-D convolutions take most of a step. `kernels.c` computes them, and the
loss, for one core, several times faster; the samples of a step run in parallel, one core each. It is
compiled when first used, where there is a C compiler; without one, torch computes the steps.
ADR 0009 has the measurements.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

SOURCE: Final = Path(__file__).with_name("kernels.c")
FLAGS: Final = ("-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fPIC", "-c")
LINK: Final = ("-shared",)
"""Linked in a step of its own, without `-ffast-math`: with it the library would, when loaded, make the
process take the smallest numbers for zero."""
COMPILE_S: Final = 120.0
CACHE: Final = "XDG_CACHE_HOME"
M_TRIM_THRESHOLD: Final = -1
M_TOP_PAD: Final = -2
M_MMAP_MAX: Final = -4
M_ARENA_MAX: Final = -8
KEPT_BYTES: Final = 2**31 - 1
STEP_BYTES: Final = 2**28


def keep_memory() -> bool:
    """Let this process keep the memory it frees; False where the C library has no such setting.

    A step takes and frees the same blocks of tens of megabytes over and over. By default glibc hands each
    back to the kernel, and the pages come back one fault at a time: a tenth of a step (mallopt(3)).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    options = (
        (M_ARENA_MAX, 1),  # further arenas are small and would map large blocks after all
        (M_MMAP_MAX, 0),
        (M_TRIM_THRESHOLD, KEPT_BYTES),
        (M_TOP_PAD, STEP_BYTES),
    )
    return all(set_option(name, value) for name, value in options)


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16; where it does not, that way is slower than float32."""
    import torch  # noqa: PLC0415 - the kernels themselves need no torch

    return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 - torch has no public name for it


@lru_cache(maxsize=1)
def load_kernels() -> Any | None:
    """Return the compiled kernels, None where they cannot be compiled."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    target = _folder() / f"kernels-{_digest(compiler)}.so"
    if not target.exists() and not _compile(compiler, target):
        return None
    try:
        return _declared(ctypes.CDLL(str(target)))
    except OSError:
        return None


def _folder() -> Path:
    base = os.environ.get(CACHE)
    return (Path(base) if base else Path.home() / ".cache") / "lumbar-node"


def _digest(compiler: str) -> str:
    """Return the digest of source, compiler and processor: what is compiled for this machine runs only on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    processor = next((line for line in lines if line.startswith("flags")), "")
    parts = (SOURCE.read_text(encoding="utf-8"), *FLAGS, *LINK, compiler, processor)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: str, target: Path) -> bool:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as folder:
            part, library = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
            for call in (
                [compiler, *FLAGS, str(SOURCE), "-o", str(part)],
                [compiler, *LINK, str(part), "-o", str(library), "-lm"],
            ):
                done = subprocess.run(call, capture_output=True, timeout=COMPILE_S, check=False)
                if done.returncode:
                    return False
            library.replace(target)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True


def _declared(library: Any) -> Any:
    pointer, long = ctypes.c_void_p, ctypes.c_long
    for name in ("depthwise", "depthwise_weight_gradient", "depthwise_input_gradient"):
        getattr(library, name).argtypes = [pointer] * 3 + [long] * 6
    library.marginal_loss.argtypes = [pointer] * 7 + [long] * 4 + [ctypes.c_double]
    return library
