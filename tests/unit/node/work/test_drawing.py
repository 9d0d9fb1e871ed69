from __future__ import annotations

from typing import Any

import pytest

from node.work.drawing import Pictures

SCENE: Any = "scene"
DRAWING: Any = "drawing"


class Hand:
    """Draws a word; raises at one of its steps when asked to."""

    def __init__(self, breaks_at: str = "") -> None:
        self.breaks_at, self.seen = breaks_at, list[tuple[str, Any]]()

    def _do(self, step: str, what: Any = None) -> None:
        self.seen.append((step, what))
        if step == self.breaks_at:
            raise MemoryError(step)

    def begin(self, scene: Any) -> None:
        self._do("begin", scene)

    def finish(self, reading: Any) -> None:
        self._do("finish", reading)

    def drawing(self) -> Any:
        self._do("drawing")
        return DRAWING


def _reading(language: str) -> Any:
    return f"reading in {language}"


def test_scene_reading_and_drawing_in_their_order() -> None:
    hand = Hand()
    pictures = Pictures(hand, "de")
    assert pictures.wanted
    pictures.begin(SCENE)
    pictures.finish(_reading)
    assert pictures.drawing() == DRAWING
    assert hand.seen == [("begin", SCENE), ("finish", "reading in de"), ("drawing", None)]


def test_nothing_is_handed_over_where_nothing_is_to_be_drawn() -> None:
    hand = Hand()
    pictures = Pictures(hand, None)
    assert not pictures.wanted
    pictures.begin(SCENE)
    pictures.finish(_reading)
    assert hand.seen == []


@pytest.mark.parametrize("step", ["begin", "finish", "drawing"])
def test_a_fault_at_any_step_is_raised_by_the_drawing_alone(step: str) -> None:
    pictures = Pictures(Hand(step), "en")
    pictures.begin(SCENE)
    pictures.finish(_reading)
    with pytest.raises(MemoryError, match=step):
        pictures.drawing()


def test_a_heading_that_cannot_be_read_costs_the_drawing_alone() -> None:
    pictures = Pictures(Hand(), "en")
    pictures.begin(SCENE)

    def reading(_: str) -> Any:
        raise UnicodeDecodeError("utf-8", b"", 0, 1, "no")

    pictures.finish(reading)
    with pytest.raises(UnicodeDecodeError):
        pictures.drawing()
