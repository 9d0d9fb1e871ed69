from __future__ import annotations

import pytest

from node.console.kept import Kept


def test_a_value_is_made_again_when_it_is_old_and_a_fault_keeps_nothing() -> None:
    now, made = [0.0], []

    def make() -> int:
        made.append(now[0])
        return len(made)

    kept = Kept(lambda: now[0])
    assert [kept.get("a", 10, make) for _ in range(3)] == [1, 1, 1]
    assert kept.get("b", 10, make) == 2
    now[0] = 10.5
    assert (kept.get("a", 10, make), kept.get("a", 10, make)) == (3, 3)
    with pytest.raises(ZeroDivisionError):
        kept.get("c", 10, lambda: 1 // 0)
    assert kept.get("c", 10, lambda: 7) == 7
