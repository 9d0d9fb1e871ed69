from __future__ import annotations

from node.console.tries import FREE, LONGEST_S, MOST, Tries


class Now:
    at = 100.0

    def __call__(self) -> float:
        return self.at


def test_a_few_are_free_and_then_the_wait_doubles_up_to_a_longest() -> None:
    now = Now()
    tries = Tries(now)
    for _ in range(FREE - 1):
        tries.wrong("a")
        assert tries.wait_s("a") == 0
    waits = []
    for _ in range(12):
        tries.wrong("a")
        waits.append(tries.wait_s("a"))
        now.at += waits[-1]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_S


def test_the_longest_wait_of_several_counts_and_a_right_one_forgets() -> None:
    now = Now()
    tries = Tries(now)
    for _ in range(FREE + 2):
        tries.wrong("address")
    assert tries.wait_s("name", "address") == 4
    tries.right("address")
    assert tries.wait_s("name", "address") == 0


def test_a_quiet_hour_forgets() -> None:
    now = Now()
    tries = Tries(now)
    for _ in range(FREE + 3):
        tries.wrong("a")
    now.at += 3601
    tries.wrong("a")
    assert tries.wait_s("a") == 0


def test_memory_is_bounded_and_the_quietest_makes_room() -> None:
    tries = Tries(Now())
    for _ in range(FREE + 1):
        tries.wrong("first")
    for n in range(MOST - 1):
        tries.wrong(f"n{n}")
    assert tries.wait_s("first") > 0
    tries.wrong("one more")
    assert tries.wait_s("first") == 0
