from __future__ import annotations

import pytest

from node.receive.rates import KNOWN_ADDRESSES, LONGEST_PAUSE_S, Rate, Rates
from tests.support.clock import Clock


def test_minute_takes_so_many_of_one_address_and_then_one_by_one(clock: Clock) -> None:
    rate = Rate(6, clock.monotonic)
    assert [rate.take("a") for _ in range(8)] == [True] * 6 + [False] * 2
    assert rate.take("b")
    clock.pass_s(9.9)
    assert not rate.take("a")
    clock.pass_s(0.2)
    assert [rate.take("a") for _ in range(2)] == [True, False]
    clock.pass_s(3600)
    assert [rate.take("a") for _ in range(7)] == [True] * 6 + [False]


def test_amount_above_the_rate_is_seconds_ahead(clock: Clock) -> None:
    rate = Rate(60, clock.monotonic)
    assert rate.excess_s("a", 60) == 0
    assert rate.excess_s("a", 2) == pytest.approx(2)
    clock.pass_s(1)
    assert rate.excess_s("a", 0) == pytest.approx(1)


def test_no_limit_counts_nothing() -> None:
    rates = Rates(0, 0)
    assert [rates.refusal("a") for _ in range(3)] == [""] * 3
    assert rates.pause_s("a", 10**12) == 0


def test_pause_has_an_end_and_a_refusal_names_its_key() -> None:
    rates = Rates(1, 1)
    assert rates.pause_s("a", 10**9) == LONGEST_PAUSE_S
    assert rates.refusal("a") == ""
    assert "max_associations_per_minute" in rates.refusal("a")


def test_strangers_do_not_fill_the_memory(clock: Clock) -> None:
    rate = Rate(1, clock.monotonic)
    for n in range(KNOWN_ADDRESSES + 10):
        rate.take(f"10.0.{n // 256}.{n % 256}")
    assert len(rate._levels) == KNOWN_ADDRESSES
