"""When to try again: pure, so that a restart and a test count alike."""

from __future__ import annotations

from typing import Final

JITTER: Final = 0.1
"""Share of the wait that is spread, so that many deliveries do not come back in one second."""


def wait_s(tries: int, first_s: float, longest_s: float, spread: float = 0.0) -> float:
    """Return the seconds to wait after the `tries`-th failed try (from 1): doubled each time, up to a longest.

    spread: 0…1, chosen by the caller; the wait grows by at most `JITTER` of itself.
    """
    if tries < 1:
        raise ValueError(f"a wait follows a try, got {tries}")
    doubled = first_s * 2.0 ** min(tries - 1, 60)
    return min(doubled, longest_s) * (1.0 + JITTER * spread)


def days_text(seconds: float) -> str:
    """Return a duration for people: 40 s, 12 min, 3.1 h, 7.0 days."""
    for unit, size_s, digits in (("days", 86_400.0, 1), ("h", 3600.0, 1), ("min", 60.0, 0)):
        if seconds >= 2 * size_s or (unit == "min" and seconds >= size_s):
            return f"{seconds / size_s:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
