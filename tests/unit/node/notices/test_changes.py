from __future__ import annotations

from node.notices.changes import NEW_AFTER_S, OVER_AFTER_S, Changes, find_changes
from node.notices.conditions import Condition
from node.notices.memory import Memory

PACS = {"delivery|pacs": Condition("delivery|pacs", "pacs does not answer", "check it", 3)}
T0 = 1_700_000_000.0


def _run(*looks: tuple[float, dict[str, Condition]]) -> list[tuple[float, Changes]]:
    memory, found = Memory(), []
    for after, conditions in looks:
        memory, changes = find_changes(memory, conditions, T0 + after)
        if changes:
            found.append((after, changes))
    return found


def test_each_kind_is_reported_once_when_it_lasts_and_once_when_it_is_over() -> None:
    looks = [(60.0 * n, PACS) for n in range(30)]
    looks += [(60.0 * n, {}) for n in range(30, 60)]
    begun, ended = _run(*looks)
    assert begun == (NEW_AFTER_S, Changes((PACS["delivery|pacs"],)))
    assert ended == (60.0 * 30 + OVER_AFTER_S, Changes((), ("pacs does not answer",)))


def test_what_is_gone_at_once_is_not_reported() -> None:
    assert _run((0, PACS), (240, PACS), (300, {}), (360, PACS), (600, PACS)) == []


def test_flapping_is_one_fault() -> None:
    looks = [(60.0 * n, PACS if n % 10 < 7 else {}) for n in range(600)]
    assert len(_run(*looks)) == 1


def test_number_that_grows_is_nothing_new() -> None:
    more = {"delivery|pacs": Condition("delivery|pacs", "pacs refuses", "", 99)}
    assert len(_run((0, PACS), (400, PACS), (500, more), (5000, more))) == 1


def test_clock_that_is_set_back_begins_the_wait_again_and_loses_nothing() -> None:
    found = _run((0, PACS), (-86_400, PACS), (-86_400 + 200, PACS), (-86_400 + 300, PACS))
    assert [at for at, _ in found] == [-86_400 + 300]
