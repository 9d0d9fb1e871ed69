"""Distributed data-parallel training (`torchrun`): several processes train one network together.

Each takes its share of a step's samples; the gradients are averaged, so that a step equals that of a single process,
but for the order of the sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import torch
from torch import Tensor, distributed

from training.errors import UsageError

PATIENCE: Final = timedelta(hours=1)
"""How long a process waits for another one, as for the main one while it validates."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the training; alone without `torchrun`."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """How many there are."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Of this process, where the sums over all are taken."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes checkpoints and reports progress."""
        return self.rank == 0

    def share(self, numbers: range) -> range:
        """Return this process's part of a step's samples.

        Raises:
            UsageError: the samples cannot be shared evenly.
        """
        if len(numbers) % self.size:
            raise UsageError(
                f"{len(numbers)} samples a step cannot be shared by {self.size} processes; set accumulate to a multiple"
            )
        return numbers[self.rank :: self.size]

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""
        for tensor in tensors if self.size > 1 else ():
            if tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor.div_(self.size)

    def any_stops(self, *, stop: bool) -> bool:
        """Return whether any process wants to stop: all must leave the loop at the same step."""
        if self.size == 1:
            return stop
        wish = torch.tensor([float(stop)], device=self.device)
        distributed.all_reduce(wish)
        return float(wish) > 0


def backend(device: torch.device) -> str:
    """Return what processes with such a device speak."""
    return "nccl" if device.type == "cuda" else "gloo"


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, and leave them; alone without it.

    device: of this process (`training.fit.device`). They speak NCCL where it is a CUDA device, else gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield Processes(device=device)
        return
    distributed.init_process_group(backend(device), timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
