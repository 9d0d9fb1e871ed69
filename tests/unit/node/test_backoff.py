from __future__ import annotations

import pytest

from node.backoff import wait_s


def test_waits_double_up_to_the_longest() -> None:
    waits = [wait_s(n, 5.0, 60.0) for n in range(1, 7)]
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_spread_adds_at_most_a_tenth() -> None:
    assert wait_s(1, 10.0, 60.0, 1.0) == pytest.approx(11.0)


def test_many_tries_do_not_overflow() -> None:
    assert wait_s(100_000, 5.0, 900.0) == 900.0


def test_no_wait_before_the_first_try() -> None:
    with pytest.raises(ValueError, match="follows a try"):
        wait_s(0, 5.0, 60.0)
