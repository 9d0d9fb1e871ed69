"""A clock that moves only when a test moves it."""

from __future__ import annotations

import pytest


class Clock:
    """A `node.clock.Clock` that a test moves, and whose wall time may jump; called, it gives wall time."""

    def __init__(self) -> None:
        self.passed_s, self.jumped_s = 0.0, 1_700_000_000.0

    def __call__(self) -> float:
        return self.wall()

    def wall(self) -> float:
        return self.jumped_s + self.passed_s

    def monotonic(self) -> float:
        return self.passed_s

    def since(self, at: float) -> float:
        return max(0.0, self.wall() - at)

    def pass_s(self, seconds: float) -> None:
        self.passed_s += seconds

    def jump_s(self, seconds: float) -> None:
        """Set the wall clock."""
        self.jumped_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()
