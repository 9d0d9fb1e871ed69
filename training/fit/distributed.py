"""Several processes that train one network together, started by `torchrun`.

Each takes its share of a step's draws; the gradients are summed, so that a step is the one that a
single process would take, but for the order of the sums.
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
class Ranks:
    """This process's number and how many there are; alone without `torchrun`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes checkpoints and tells its progress."""
        return self.rank == 0

    def share(self, numbers: range) -> range:
        """Return this process's part of a step's draws.

        Raises:
            UsageError: the draws cannot be shared evenly.
        """
        if len(numbers) % self.size:
            raise UsageError(
                f"{len(numbers)} draws a step cannot be shared by {self.size} processes; set accumulate to a multiple"
            )
        return numbers[self.rank :: self.size]

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""
        for tensor in tensors if self.size > 1 else ():
            if tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor.div_(self.size)

    def agree(self, *, stop: bool) -> bool:
        """Whether any process wants to stop: all must leave the loop at the same step."""
        if self.size == 1:
            return stop
        wish = torch.tensor([float(stop)])
        distributed.all_reduce(wish)
        return float(wish) > 0


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, and leave them; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    distributed.init_process_group("gloo")
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
