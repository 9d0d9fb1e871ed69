"""The samples of a training are the same whoever draws them, also after a jump."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from model.networks.deeplab import Architecture
from training.data.held_out import split_cases
from training.fit.distributed import Processes
from training.fit.draws import Cohort, Draw, Draws
from training.fit.recipe import Recipe

RECIPE = Recipe(
    architecture=Architecture(width=4, decoder=2, dilations=(1,)),
    crops=((8, 16, 16), (16, 16, 8)),
    narrow=(16, 16, 8),
    accumulate=2,
    steps=6,
)


def equal(one: Draw, other: Draw) -> bool:
    names = ("image", "labels", "valid", "coordinates")
    pairs = [(getattr(one.sample, n), getattr(other.sample, n)) for n in names]
    return one.held == other.held and all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def cohort(tiny_cases: Path) -> Cohort:
    phantoms, slabs, _ = split_cases(tiny_cases, ())
    return Cohort(RECIPE, phantoms, slabs)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_draw_what_the_process_itself_draws(cohort: Cohort, workers: int) -> None:
    """Steps 2 and 3 as of a resumed training, then a jump back."""
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
    assert len(seen) == 3


def test_a_cohort_can_be_sent_to_a_worker(cohort: Cohort) -> None:
    assert pickle.loads(pickle.dumps(cohort)) == cohort  # noqa: S301 - our own


def test_a_sample_on_a_device_has_the_layout_of_the_network(cohort: Cohort) -> None:
    drawn = cohort.draw(0)
    placed = drawn.to(torch.device("cpu"))
    assert equal(drawn, placed)
    assert placed.sample.image.is_contiguous(memory_format=torch.channels_last_3d)
