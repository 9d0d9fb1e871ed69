from __future__ import annotations

import pytest
from markupsafe import Markup

from node.clock import at_text
from node.console.words import MARKS, age, clock_text, harmless, mark, moment, size, word
from node.journal.states import DeliveryState, SeriesState


def test_every_state_has_a_shape_and_kinds_differ_by_shape() -> None:
    assert {*SeriesState, *DeliveryState} <= MARKS.keys()
    kinds = {m.kind: m.shape for m in MARKS.values()}
    assert len(set(kinds.values())) == len(kinds)
    assert mark("what is this").kind == "quiet"
    assert word("dead") == "failed"


def test_texts_of_strangers_lose_what_acts() -> None:
    assert harmless("a\u202eb\u0000c\u200bd") == "a\ufffdb\ufffdc\ufffdd"
    assert harmless("München\nL4/5 \\ 山田") == "München\nL4/5 \\ 山田"
    assert harmless(3) == 3
    assert harmless(Markup("<b>\u200b</b>")) == "<b>\u200b</b>"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "now"), (30, "now"), (61, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")]
)  # fmt: skip
def test_ages(seconds: float, text: str) -> None:
    assert age(at_text(1_700_000_000.0), 1_700_000_000.0 + seconds) == text


def test_moments_and_sizes() -> None:
    assert moment(None) == moment(0.0) == ""
    assert clock_text("2026-01-31T10:20:30+01:00") == "2026-01-31 10:20:30"
    assert [size(n) for n in (12, 1500, 2.5e6, 3e9)] == ["12 B", "1.5 kB", "2.5 MB", "3.0 GB"]
