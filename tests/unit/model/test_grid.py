"""The numbers of the paper."""

from __future__ import annotations

from model.grid import PAPER_SHAPE, paper_crop


def test_the_paper_s_crop() -> None:
    assert paper_crop(320, 320) == (slice(40, 280), slice(70, 250))
    assert PAPER_SHAPE == (128, 240, 180)
