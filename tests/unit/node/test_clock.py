from __future__ import annotations

from typing import Any

from node.clock import Ages, Clock


def test_duration_that_is_shown_is_never_negative(clock: Any) -> None:
    at = clock.wall()
    clock.jump_s(-3600)
    assert Clock(clock.wall, clock.monotonic).since(at) == 0.0


def test_age_follows_the_monotonic_clock_whatever_the_wall_does(clock: Any) -> None:
    ages = Ages(clock, from_start=True)
    at = clock.wall()
    assert ages.of("a", 1, at) == 0.0
    clock.pass_s(5)
    clock.jump_s(-3600)
    assert ages.of("a", 1, at) == 5.0
    clock.jump_s(7200)
    clock.pass_s(1)
    assert ages.of("a", 1, at) == 6.0


def test_change_is_no_older_than_the_last_look_and_no_younger_than_now(clock: Any) -> None:
    ages = Ages(clock, from_start=True)
    ages.of("a", 1, clock.wall())
    clock.pass_s(10)
    changed_at = clock.wall()
    clock.pass_s(2)
    assert ages.of("a", 2, changed_at) == 2.0
    clock.pass_s(1)
    assert ages.of("a", 3, changed_at - 3600) == 1.0
    assert ages.of("a", 4, changed_at + 3600) == 0.0


def test_key_that_was_not_there_in_the_last_round_is_younger_than_it(clock: Any) -> None:
    ages = Ages(clock, from_start=True)
    clock.pass_s(100)
    ages.keep([])
    clock.pass_s(1)
    assert ages.of("b", 1, clock.wall() - 3600) == 1.0
    ages.keep([])
    assert ages.of("b", 1, clock.wall() - 3600) == 0.0


def test_start_counts_anew_or_trusts_what_was_written(clock: Any) -> None:
    at = clock.wall() - 300
    assert Ages(clock, from_start=True).of("a", 1, at) == 0.0
    assert Ages(clock, from_start=False).of("a", 1, at) == 300.0
    assert Ages(clock, from_start=False).of("a", 1, clock.wall() + 3600) == 0.0
