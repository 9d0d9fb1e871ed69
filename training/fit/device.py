"""Choose the device of a training: each process under `torchrun` takes the GPU of its number on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

import torch

from training.errors import UsageError

WORDS: Final = "auto, cpu, cuda, cuda:N or mps"
MAX_WORKERS: Final = 8
"""Worker processes per GPU at most, where their number is not given."""


def choose_device(word: str = "auto", environment: Mapping[str, str] | None = None) -> torch.device:
    """Return the device of this process.

    word: auto (a CUDA device where there is one, else the CPU), cpu, cuda, cuda:N or mps. auto and cuda take the device
    of `LOCAL_RANK`, which `torchrun` sets to this process's number on its machine; 0 without it.

    Raises:
        UsageError: an unknown word, a device that is not here, or one GPU for several processes.
    """
    own = os.environ if environment is None else environment
    rank, several = int(own.get("LOCAL_RANK", "0")), int(own.get("WORLD_SIZE", "1")) > 1
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "cpu" or (word == "auto" and not count):
        return torch.device("cpu")
    if word == "mps":
        return _mps(several=several)
    named = re.fullmatch(r"cuda:(\d+)", word)
    if named is None and word not in {"auto", "cuda"}:
        raise UsageError(f"--device {word} is not known; give {WORDS}")
    if named is not None and several:
        raise UsageError(
            f"--device {word} is one GPU for several processes; give cuda, and each takes its own"
        )
    number = rank if named is None else int(named[1])
    if number >= count:
        raise UsageError(f"--device {word}: {_lacking(number, count)}")
    return torch.device("cuda", number)


def _mps(*, several: bool) -> torch.device:
    if several:
        raise UsageError("--device mps is one GPU for several processes; train in one process")
    if not torch.backends.mps.is_available():
        raise UsageError("--device mps: there is no such device here; give cpu")
    return torch.device("mps")


def _lacking(number: int, count: int) -> str:
    if not count:
        return "there is no CUDA device here; give cpu, or install torch's CUDA build and a driver"
    return f"process or device {number} needs CUDA device {number}, and there are {count} here; start fewer processes"


def mixed_precision(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; asked for a CUDA device, False for the others.

    bfloat16 has the exponents of float32, so that gradients need no scaling.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def worker_count(workers: int | None, device: torch.device) -> int:
    """Return how many processes draw samples; 0 draws in the training process.

    workers: None is 0 on a CPU, whose cores are busy with the training, and else this process's share of the cores, one
    left for the training, 8 at most.
    """
    if workers is not None:
        return workers
    if device.type == "cpu":
        return 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MAX_WORKERS, max(1, (os.cpu_count() or 1) // processes - 1))
