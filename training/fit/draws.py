"""Draw the samples of a training in its own process, or ahead of it in worker processes.

A draw takes 0.2 to 1.3 seconds of a core, more than a step on a GPU. Every sample is a function of its number alone, so
that the number of workers changes nothing in their sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dicomseg.structures import StructureId
from training.fit.augment import Sample
from training.fit.distributed import Processes
from training.fit.recipe import Recipe
from training.fit.sampling import draw_sample

AHEAD: Final = 2
"""Samples that each worker draws ahead."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A sample, and the structures that its case labels."""

    labelled: tuple[StructureId, ...]
    sample: Sample

    def to(self, device: torch.device) -> Draw:
        """Return it on the device; from pinned memory the copy runs beside the computation."""
        s = self.sample
        image, labels, valid, coordinates = (
            tensor.to(device, non_blocking=True)
            for tensor in (s.image, s.labels, s.valid, s.coordinates)
        )
        image = image.contiguous(memory_format=torch.channels_last_3d)
        return Draw(self.labelled, Sample(image, labels, valid, coordinates))


@dataclass(frozen=True, slots=True)
class Cohort:
    """What is sampled; can be sent to a worker."""

    recipe: Recipe
    phantoms: Sequence[Path]
    slabs: Sequence[Path]

    def draw(self, number: int) -> Draw:
        """Return the sample with this number."""
        case, sample = draw_sample(self.recipe, self.phantoms, self.slabs, number)
        return Draw(case.labelled, sample)


class _Numbered(Dataset[tuple[Any, ...]]):
    """Samples by number, as tensors that a loader can pin."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        drawn = self._cohort.draw(number)
        s = drawn.sample
        return drawn.labelled, s.image, s.labels, s.valid, s.coordinates


class Draws:
    """The samples of this process's share of each step.

    workers: processes that draw ahead; 0 draws when asked, in the thread that asks.
    """

    def __init__(
        self, cohort: Cohort, processes: Processes, workers: int = 0, *, pinned: bool = False
    ) -> None:
        self.cohort, self._processes = cohort, processes
        self._workers, self._pinned = workers, pinned
        self._next = -1
        self._coming: Iterator[tuple[Any, ...]] = iter(())

    def of_step(self, step: int) -> tuple[range, Callable[[int], Draw]]:
        """Return the numbers of this process's samples in this step, and what gives each.

        Raises:
            UsageError: the samples cannot be shared evenly.
        """
        count = self.cohort.recipe.accumulate
        numbers = self._processes.share(range(step * count, (step + 1) * count))
        if not self._workers:
            return numbers, self.cohort.draw
        if step != self._next:
            self._begin(step)
        self._next = step + 1
        drawn = {number: _unpacked(next(self._coming)) for number in numbers}
        return numbers, drawn.__getitem__

    def _begin(self, step: int) -> None:
        """Start the workers at this step: the first one, or where a training is resumed."""
        count, last = self.cohort.recipe.accumulate, self.cohort.recipe.steps
        numbers = [
            number
            for later in range(step, last)
            for number in self._processes.share(range(later * count, (later + 1) * count))
        ]
        # Not by fork: threads of torch and CUDA do not survive one.
        self._coming = iter(
            DataLoader(
                _Numbered(self.cohort),
                batch_size=None,
                sampler=numbers,
                num_workers=self._workers,
                prefetch_factor=AHEAD,
                pin_memory=self._pinned,
                multiprocessing_context="spawn",
            )
        )


def _unpacked(values: tuple[Any, ...]) -> Draw:
    labelled, *rest = values
    tensors: list[Tensor] = list(rest)
    return Draw(tuple(labelled), Sample(*tensors))
