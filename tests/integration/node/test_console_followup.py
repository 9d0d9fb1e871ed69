"""Follow-up and corrections in the console: what a physician sees of a patient over studies, and of readers' work."""

from __future__ import annotations

import re
from typing import Any

import pytest

from node.console.app import application
from node.journal.corrections import CorrectionState, Judgement
from tests.support.consoles import Browser, console_over
from tests.support.visits import Clinic, content

HOSTILE = "<script>alert(1)</script>\u202e"


def _page(clinic: Clinic, path: str, role: str = "physician") -> str:
    browser = Browser(application(console_over(clinic.journal, clinic.state)))
    browser.log_in(role)
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.text


def _with_three_more(result: dict[str, Any]) -> dict[str, Any]:
    first = result["measurements"]["OC"]
    others = {name: {**first, "value_mm": 20.0} for name in ("DIVC", "PI")}
    return {**result, "measurements": {**result["measurements"], **others}}


def test_a_patient_is_followed_over_studies_with_table_and_pictures(clinic: Clinic) -> None:
    clinic.visit(
        1, "20250301", _with_three_more(content(10.0)), Manufacturer=HOSTILE.strip("\u202e")
    )
    clinic.visit(2, "20260301", _with_three_more(content(12.0)))
    clinic.visit(3, "20260401", _with_three_more(content(30.0)), PatientID="OTHER")
    text = _page(clinic, "/series/2")
    assert "2026-03-01, this study" in text
    assert re.search(r'<a href="/series/1">2025-03-01</a>', text)
    row = re.search(r"<b>OC</b></th>(.*?)</tr>", text)
    assert row is not None
    cells = re.findall(r">([^<>]+)</td>", row[1])
    assert cells == ["10.0 mm ± 0.50 mm", "12.0 mm ± 0.50 mm", "+2.00 mm", "1.41 mm", "exceeds the uncertainty"]  # fmt: skip
    assert text.count("<svg") == 4
    assert "30.0 mm" not in text
    assert "<script>alert" not in text
    assert not re.search(r"\son\w+=|style=|javascript:", text)
    assert "Follow-up" not in _page(clinic, "/series/2", "viewer")


def test_one_study_alone_has_no_follow_up(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    assert "Follow-up" not in _page(clinic, "/series/1")


@pytest.fixture
def corrected(clinic: Clinic) -> Clinic:
    """A series with an accepted correction, one that was refused, and one that is none."""
    source = clinic.visit(1, "20250301", content(10.0))
    figures = {
        "values": {"OC": {"before_mm": 10.0, "before_refusal": None, "after_mm": None, "after_refusal": "no_section"}},
        "removed": [],
    }  # fmt: skip
    judged = [
        Judgement(CorrectionState.REFUSED, "other-grid", HOSTILE, source, "r1.2.1.1"),
        Judgement(CorrectionState.ACCEPTED, "", "", source, "r1.2.1.1", "e1", figures),
        Judgement(CorrectionState.UNRELATED, "other-segments", "about something else"),
    ]
    for number, found in enumerate(judged, start=5):
        key = clinic.receive(number)
        (seg,) = clinic.journal.instances.of_series(key)
        clinic.journal.corrections.record(seg, 1.0, found)
    return clinic


def test_corrections_are_shown_with_reason_values_and_their_series(corrected: Clinic) -> None:
    text = _page(corrected, "/corrections")
    assert "<b>OC</b> 10.0 mm → no section" in text
    assert text.count('href="/series/1"') == 2
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "about something else" not in text
    viewer = _page(corrected, "/corrections", "viewer")
    assert "10.0 mm" not in viewer
    assert "accepted" in viewer


def test_pages_of_corrections_lead_from_one_to_the_next(clinic: Clinic, clock: Any) -> None:
    source = clinic.visit(1, "20250301", content(10.0))
    for number in range(60):
        clock.pass_s(1.5)
        key = clinic.receive(100 + number)
        (seg,) = clinic.journal.instances.of_series(key)
        found = Judgement(CorrectionState.REFUSED, "other-grid", f"reason {number}.", source)
        clinic.journal.corrections.record(seg, 1.0, found)
    browser = Browser(application(console_over(clinic.journal, clinic.state)))
    browser.log_in("viewer")
    seen: list[str] = []
    path = "/corrections"
    for _ in range(3):
        text = browser.get(path).text
        seen += re.findall(r"reason (\d+)\.", text)
        found_next = re.search(r'rel="next" href="([^"]+)"', text)
        path = found_next[1] if found_next else path
    assert [int(n) for n in seen] == list(range(59, -1, -1))
    back = re.search(r'rel="prev" href="([^"]+)"', browser.get(path).text)
    assert back is not None
    assert "reason 34." in browser.get(back[1]).text


def test_pages_of_review_lead_from_one_to_the_next(clinic: Clinic, clock: Any) -> None:
    for number in range(1, 61):
        clinic.visit(number, "20250301", content(10.0), PatientID=f"P{number}")
        clinic.journal.reviews.weigh(f"r1.2.{number}.1", float(number // 2), [])
    browser = Browser(application(console_over(clinic.journal, clinic.state)))
    browser.log_in("physician")
    seen: list[str] = []
    path = "/review"
    for _ in range(3):
        text = browser.get(path).text
        seen += re.findall(r'id="rr1\.2\.(\d+)\.1"', text)
        found_next = re.search(r'rel="next" href="([^"]+)"', text)
        path = found_next[1] if found_next else path
    assert len(seen) == len(set(seen)) == 60
    assert [int(n) // 2 for n in seen] == sorted((n // 2 for n in range(1, 61)), reverse=True)
    assert 'rel="next"' not in text
    back = re.search(r'rel="prev" href="([^"]+)"', text)
    assert back is not None
    again = re.findall(r'id="rr1\.2\.(\d+)\.1"', browser.get(back[1]).text)
    assert again == seen[25:50]
