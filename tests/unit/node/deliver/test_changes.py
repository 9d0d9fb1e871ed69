from __future__ import annotations

from typing import Any

from node.deliver.changes import MOST_LINES, WINDOW_S, Changes
from node.events import DeliveriesWoken, DeliveryChangesCounted

EVENT = DeliveriesWoken("pacs", 1)


def test_a_flood_is_counted_and_written_once(clock: Any) -> None:
    heard: list[Any] = []
    changes = Changes("pacs", heard.append, clock.monotonic)
    for _ in range(MOST_LINES + 900):
        changes("confirmed", EVENT)
    for _ in range(7):
        changes("failed", EVENT)
    assert heard == [EVENT] * MOST_LINES
    assert changes.counts == {"confirmed": MOST_LINES + 900, "failed": 7}
    changes.flush()
    assert len(heard) == MOST_LINES
    clock.pass_s(WINDOW_S)
    changes.flush()
    assert heard[MOST_LINES:] == [DeliveryChangesCounted("pacs", {"confirmed": 900, "failed": 7})]
    changes("sent", EVENT)
    assert heard[-1] == EVENT


def test_a_wall_clock_that_is_set_silences_nothing(clock: Any) -> None:
    heard: list[Any] = []
    changes = Changes("pacs", heard.append, clock.monotonic)
    clock.jump_s(-1e9)
    changes("sent", EVENT)
    assert heard == [EVENT]
