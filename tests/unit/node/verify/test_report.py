"""Findings are counted, joined and made printable; nothing is lost silently."""

from __future__ import annotations

from node.verify.report import MOST_TEXTS, Answer, Finding, FolderReport, Report, merged, printable


def test_equal_findings_are_joined_errors_first() -> None:
    found = merged(
        [Finding("known", "a", 2, "why"), Finding("error", "b"), Finding("known", "a", 1, "why")]
    )
    assert found == (Finding("error", "b"), Finding("known", "a", 3, "why"))


def test_too_many_different_ones_are_counted() -> None:
    found = merged(Finding("warning", str(n)) for n in range(MOST_TEXTS + 5))
    assert len(found) == MOST_TEXTS + 1
    assert found[-1] == Finding("warning", "further findings", 5)
    answer = Answer("x", "y", found)
    assert (answer.count("warning"), answer.count("error")) == (MOST_TEXTS + 5, 0)
    assert Report((), (FolderReport("f", ("y",), (answer,)),)).count("warning") == MOST_TEXTS + 5


def test_control_characters_and_length() -> None:
    assert printable("a\x1b[31m\nb\tc") == "a [31m b c"
    assert len(printable("x" * 9999)) == 240
