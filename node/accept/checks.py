"""One row of an acceptance test, and the verdict of all (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["passed", "noted", "failed", "not possible"]
"""noted: the PACS changed something that changes no result. not possible: what the check needs is absent."""
Verdict = Literal["passed", "failed", "incomplete"]
FAILED: Final = 4


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was expected and seen.

    group: heading. needed: without it nothing is proved, so that the test is incomplete where it is not possible.
    remedy: what to do, "" where nothing is wrong. details: every line behind a summary, for the page.
    """

    group: str
    what: str
    expected: str
    seen: str
    outcome: Outcome
    remedy: str = ""
    needed: bool = False
    details: tuple[str, ...] = ()


def passes(ok: bool) -> Outcome:
    """Return passed or failed."""
    return "passed" if ok else "failed"


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Return the verdict: failed where one failed, incomplete where a needed one was not possible."""
    if any(c.outcome == "failed" for c in checks):
        return "failed"
    if any(c.outcome == "not possible" and c.needed for c in checks) or not checks:
        return "incomplete"
    return "passed"


def exit_code(checks: Sequence[Check]) -> int:
    """Return 0 where the test passed, else 4."""
    return 0 if verdict_of(checks) == "passed" else FAILED


def count_text(checks: Sequence[Check]) -> str:
    """Return how many checks had which outcome: "21 passed, 2 noted"."""
    outcomes: tuple[Outcome, ...] = ("passed", "noted", "failed", "not possible")
    counts = {o: sum(c.outcome == o for c in checks) for o in outcomes}
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n)
