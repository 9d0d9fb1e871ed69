"""`Beside`: where parts of a drawing are worked out that need not wait for one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Beside(Protocol):
    """Begins a piece of work; returns a function that waits for its answer, to be called at most once."""

    def __call__(self, work: Callable[[], T], /) -> Callable[[], T]:
        """Begin `work`, whose answer can be pickled and does not depend on when it is worked out."""
        ...


def later(work: Callable[[], T], /) -> Callable[[], T]:
    """Work it out here, when its answer is asked for."""
    return work
