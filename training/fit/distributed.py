"""Distributed data-parallel training (`torchrun`): several processes train one network together.

Each takes its share of a step's samples; the gradients are averaged, so that a step equals that of a single process,
but for the order of the sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from training.errors import UsageError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the training; alone without `torchrun`."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """How many there are."""

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
        wish = torch.tensor([float(stop)])
        distributed.all_reduce(wish)
        return float(wish) > 0


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that `torchrun` started, and leave them; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes()
        return
    distributed.init_process_group("gloo")
    try:
        yield Processes(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
