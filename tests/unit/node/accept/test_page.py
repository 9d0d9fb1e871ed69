"""The page for the quality file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from node.accept.checks import Check, Verdict
from node.accept.page import page
from node.accept.record import Record


def record(verdict: Verdict = "passed", picture: Any = None, **check: Any) -> Record:
    fields = {"group": "g", "what": "Pixels", "expected": "equal", "seen": "equal in all 128"}
    one = Check(**{"outcome": "passed", **fields, **check})
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    facts = (("Destination", "<b>pacs</b> & co"),)
    return Record(
        "Acceptance test", "1.2.1", at, at, verdict, facts, (one,), ("Delete it.",), picture
    )


def test_it_is_one_file_that_loads_nothing_and_shows_names_as_text() -> None:
    text = page(record())
    assert "&lt;b&gt;pacs&lt;/b&gt; &amp; co" in text
    assert not any(mark in text for mark in ("http://", "https://", "<script", "<link", "@import"))
    assert "Performed by" in text
    assert "PASSED" in text
    assert "<img" not in text


def test_a_failed_check_says_what_to_do_and_has_its_details() -> None:
    failed = record("failed", outcome="failed", remedy="turn that off", details=("a: rows",))
    text = page(failed)
    assert "To do: turn that off" in text
    assert "<li>a: rows</li>" in text
    assert "FAILED" in text


def test_many_details_are_cut_and_counted() -> None:
    text = page(record(outcome="noted", details=tuple(f"line {n}" for n in range(30))))
    assert "and 10 more, in checks.json" in text


@pytest.mark.parametrize("shape", [(8, 6, 3), (8, 6), (0,)])
def test_only_a_colour_picture_is_shown(shape: tuple[int, ...]) -> None:
    text = page(record(picture=np.zeros(shape, np.uint8)))
    assert ("data:image/png;base64," in text) == (len(shape) == 3)
