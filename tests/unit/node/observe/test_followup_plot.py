"""The picture of a value is well-formed, holds every study, and nothing that a strict page would refuse."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from node.observe.followup import FollowUp, find_followups
from node.observe.followup_plot import HEIGHT, WIDTH, plot
from tests.support.visits import Clinic, content

SVG = "{http://www.w3.org/2000/svg}"


def _followup(clinic: Clinic, *days_and_values: tuple[str, float | None]) -> FollowUp:
    for study, (day, oc) in enumerate(days_and_values, 1):
        clinic.visit(study, day, content(oc), AcquisitionTime=f"10{study:02d}00")
    (followup,) = find_followups(clinic.journal, "PID-7").followups
    return followup


def _drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314


def test_points_lie_by_date_and_by_value(clinic: Clinic) -> None:
    followup = _followup(clinic, ("20250101", 10.0), ("20250701", 12.0), ("20270101", 11.0))
    circles = _drawn(plot(followup, "OC")).findall(f"{SVG}circle")
    across = [float(c.attrib["cx"]) for c in circles]
    down = [float(c.attrib["cy"]) for c in circles]
    assert len(circles) == 3
    share = (across[1] - across[0]) / (across[2] - across[0])
    assert share == pytest.approx(181 / 730, abs=0.002)
    assert down[1] < down[2] < down[0]  # larger values lie higher
    assert abs((down[0] - down[2]) - (down[2] - down[1])) < 0.2  # 10, 11 and 12 at equal distances
    assert all(0 < x < WIDTH for x in across)
    assert all(0 < y < HEIGHT for y in down)


def test_bars_reach_over_the_expanded_uncertainty(clinic: Clinic) -> None:
    followup = _followup(clinic, ("20250101", 10.0), ("20260101", 12.0))
    drawn = _drawn(plot(followup, "OC"))
    first, second = (float(c.attrib["cy"]) for c in drawn.findall(f"{SVG}circle"))
    per_mm = (first - second) / 2.0
    bars = [
        abs(float(line.attrib["y1"]) - float(line.attrib["y2"]))
        for line in drawn.findall(f"{SVG}line")
        if line.attrib["x1"] == line.attrib["x2"]
    ]
    assert len(bars) == 2
    assert all(abs(bar - 2 * 1.0 * per_mm) < 0.3 for bar in bars)  # ± 2 × 0.5 mm


def test_a_refused_value_is_no_point(clinic: Clinic) -> None:
    followup = _followup(clinic, ("20250101", 10.0), ("20260101", None), ("20270101", 11.0))
    drawn = _drawn(plot(followup, "OC"))
    assert len(drawn.findall(f"{SVG}circle")) == 2
    assert "refused: no_section" in drawn.attrib["aria-label"]


def test_one_study_and_unknown_dates_and_names_are_drawn(clinic: Clinic) -> None:
    followup = _followup(clinic, ("", 10.0))
    assert len(_drawn(plot(followup, "OC")).findall(f"{SVG}circle")) == 1
    nothing = _drawn(plot(followup, "<script>&"))
    assert nothing.findall(f"{SVG}circle") == []
    assert nothing.find(f"{SVG}text").text == "<script>&"  # type: ignore[union-attr]


def test_nothing_needs_a_style_or_a_script(clinic: Clinic) -> None:
    text = plot(_followup(clinic, ("20250101", 10.0), ("20250102", 12.0)), "OC")
    assert not any(part in text for part in ("style", "<script", "href", "onload"))
    texts = [t.text for t in _drawn(text).findall(f"{SVG}text")]
    assert texts[0] == "OC"
    assert {"2025-01-01", "2025-01-02"} <= set(texts)
