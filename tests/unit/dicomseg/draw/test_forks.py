"""Where vessels divide: counts of sections, two step widths, and a phantom whose forks are known."""

from __future__ import annotations

import pytest

from dicomseg.draw.forks import Fork, agreed, fork_of

HEIGHTS = [-12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0]


@pytest.mark.parametrize(
    ("counts", "fork"),
    [
        ([2, 2, 2, 2, 1, 1, 1, 1, 1], Fork("at", -1.5)),
        ([0, 2, 2, 2, 2, 1, 1, 1, 0], Fork("at", 1.5)),
        ([1, 2, 2, 2, 2, 2, 1, 1, 1], Fork("at", 4.5)),  # one limb leaves the picture below
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], Fork("below")),
        ([2, 2, 2, 2, 2, 2, 2, 2, 2], Fork("above")),
        ([2, 2, 2, 1, 2, 1, 1, 1, 1], Fork("unclear")),  # not once
        ([1, 1, 1, 2, 2, 2, 2, 2, 2], Fork("above")),
        ([2, 2, 1, 1, 1, 1, 1, 1, 1], Fork("unclear")),  # too near to the end to be sure
        ([0, 0, 0, 0, 2, 1, 1, 0, 0], Fork("unclear")),
        ([0] * 9, Fork("unclear")),
    ],
)
def test_a_fork_is_one_change_from_two_to_one(counts: list[int], fork: Fork) -> None:
    assert fork_of(counts, HEIGHTS) == fork


def test_two_step_widths_must_agree() -> None:
    assert agreed([Fork("at", 4.0), Fork("at", 5.0)]) == Fork("at", 4.5)
    assert agreed([Fork("at", 4.0), Fork("at", 9.0)]) == Fork("unclear")
    assert agreed([Fork("at", 4.0), Fork("below")]) == Fork("unclear")
    assert agreed([Fork("below"), Fork("below")]) == Fork("below")
