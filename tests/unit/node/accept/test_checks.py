"""The verdict of an acceptance test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.accept.checks import Check, Outcome, count_text, exit_code, passes, verdict_of

PASSED = Check("g", "w", "e", "s", "passed")


def with_outcomes(*outcomes: Outcome, needed: bool = False) -> list[Check]:
    return [replace(PASSED, outcome=o, needed=needed) for o in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "needed", "verdict", "code"),
    [
        (("passed", "noted"), True, "passed", 0),
        (("passed", "not possible"), False, "passed", 0),
        (("passed", "not possible"), True, "incomplete", 4),
        (("passed", "failed"), False, "failed", 4),
        (("not possible", "failed"), True, "failed", 4),
        ((), False, "incomplete", 4),
    ],
)
def test_one_failed_check_fails_and_nothing_proved_is_not_passed(
    outcomes: tuple[Outcome, ...], needed: bool, verdict: str, code: int
) -> None:
    checks = with_outcomes(*outcomes, needed=needed)
    assert verdict_of(checks) == verdict
    assert exit_code(checks) == code


def test_outcomes_are_counted() -> None:
    checks = with_outcomes("passed", "passed", "noted", "not possible")
    assert count_text(checks) == "2 passed, 1 noted, 1 not possible"
    assert (passes(True), passes(False)) == ("passed", "failed")
