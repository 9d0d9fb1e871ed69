"""Draws by workers compared with those of the process itself: `python -m tests.support.draw_workers CASES`.

A program of its own: torch's loader sets a handler for the end of every child of its process, and leaves it there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from model.networks.deeplab import Architecture
from training.data.held_out import split_cases
from training.fit.distributed import Processes
from training.fit.draws import Cohort, Draw, Draws
from training.fit.recipe import Recipe
from training.fit.segmentation import Running, segmentation_trainer

RECIPE = Recipe(
    architecture=Architecture(width=4, decoder=2, dilations=(1,)),
    crops=((8, 16, 16), (16, 16, 8)),
    narrow=(16, 16, 8),
    accumulate=2,
    steps=6,
)


def equal(one: Draw, other: Draw) -> bool:
    """Whether two draws are the same to the bit."""
    names = ("image", "labels", "valid", "coordinates")
    pairs = [(getattr(one.sample, n), getattr(other.sample, n)) for n in names]
    return one.labelled == other.labelled and all(torch.equal(a, b) for a, b in pairs)


def compare_draws(cohort: Cohort, workers: int) -> int:
    """Compare steps 2 and 3 as of a resumed training, then a jump back; returns how many samples differed."""
    second = Processes(1, 2)
    own, ahead = Draws(cohort, second), Draws(cohort, second, workers)
    seen = set()
    for step in (2, 3, 0):
        numbers, draw = own.of_step(step)
        numbers_ahead, drawn = ahead.of_step(step)
        assert list(numbers) == list(numbers_ahead) == [2 * step + 1]
        for number in numbers:
            assert equal(draw(number), drawn(number)), number
            seen.add(float(draw(number).sample.image.sum()))
    return len(seen)


def compare_steps(cohort: Cohort) -> None:
    """Compare a step of a training whose samples a worker draws with one without a worker."""
    own, other = (
        segmentation_trainer(
            cohort.recipe, cohort.phantoms, cohort.slabs, running=Running("cpu", workers=n)
        )
        for n in (0, 1)
    )
    assert own.advance() == other.advance()
    pairs = zip(own.network.parameters(), other.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def main(cases: Path) -> None:
    """Compare, and print what was compared."""
    phantoms, slabs, _ = split_cases(cases, ())
    cohort = Cohort(RECIPE, phantoms, slabs)
    for workers in (1, 2):
        print(workers, "workers:", compare_draws(cohort, workers), "samples")  # noqa: T201
    compare_steps(cohort)
    print("1 worker: the same step")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
