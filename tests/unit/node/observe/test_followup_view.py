"""What people and programs are shown of a follow-up: values with units, verdicts, and nothing of the patient."""

from __future__ import annotations

import json

from dicomseg.compare.change import Reading
from dicomseg.compare.text import reading_text
from node.observe.followup import find_followups
from node.observe.followup_view import (
    HEADS,
    followup_json,
    followup_parts,
    left_out_lines,
)
from tests.support.visits import Clinic, content, length


def test_tables_show_values_change_limit_and_verdict(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    late = {"DAA": length(15.1, None, range_mm=[14.0, 16.0], method="maximum Feret diameter"), "OC": length(12.0)}  # fmt: skip
    clinic.visit(2, "20260301", content(measurements=late))
    (followup,) = find_followups(clinic.journal, "PID-7").followups
    lines, tables = zip(*followup_parts(followup), strict=True)
    assert lines == (
        "2025-03-01: M MR1, lumbar-l45 0.10.1, series 1.2.1.1",
        "2026-03-01: M MR1, lumbar-l45 0.10.1, series 1.2.2.1",
        "2025-03-01 to 2026-03-01, 365 days",
    )
    assert [len(rows) for rows in tables] == [0, 0, 3]
    assert all(len(row) == len(HEADS) for row in tables[2])
    assert tables[2] == [
        ("OC", "10.0 mm ± 0.50 mm", "12.0 mm ± 0.50 mm", "+2.00 mm", "1.41 mm", "exceeds the uncertainty"),
        ("DAA", "15.0 mm ± 0.50 mm", "15.1 mm (14.0 mm to 16.0 mm)", "+0.10 mm", "2.10 mm", "within the uncertainty"),
        ("psoas_area_left", "900 mm² ± 8.0 mm²", "900 mm² ± 8.0 mm²", "0.0 mm²", "22.6 mm²", "within the uncertainty"),
    ]  # fmt: skip


def test_refused_and_absent_values_have_no_change(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(None))
    clinic.visit(2, "", content(12.0, extra={}), AcquisitionDate="", StationName="MR2")
    (followup,) = find_followups(clinic.journal, "PID-7").followups
    lines = [line for line, _ in followup_parts(followup)]
    assert lines[-1] == "no date to 2025-03-01; another scanner"
    rows = {row[0]: row[1:] for row in list(followup_parts(followup))[-1][1]}
    assert rows["OC"][2:] == ("–", "–", "refused in the later study")
    assert rows["OC"][1] == "refused: no_section"
    assert rows["psoas_area_left"] == (
        "–", "900 mm² ± 8.0 mm²", "–", "–", "the earlier result has no such value",
    )  # fmt: skip


def test_json_names_studies_and_not_the_patient(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(8.0))
    clinic.visit(3, "20260301", content(8.0), PatientBirthDate="")
    found = find_followups(clinic.journal, "PID-7")
    shown = followup_json(found)
    text = json.dumps(shown)
    assert not any(part in text for part in ("PID-7", "19600102", "Test^Node"))
    (patient,) = shown["patients"]
    assert [s["date"] for s in patient["studies"]] == ["2025-03-01", "2026-03-01"]
    assert patient["studies"][0]["values"]["OC"] == {
        "value": 10.0, "unit": "mm", "uncertainty": 0.5, "range": None, "refusal": None,
    }  # fmt: skip
    (step,) = patient["steps"]
    assert (step["from"], step["to"], step["days"], step["notes"]) == ("1.1.1", "1.1.2", 365, [])
    assert step["changes"]["OC"] == {
        "change": -2.0, "limit": 1.4142, "exceeds": True, "reason": None,
    }  # fmt: skip
    assert shown["left_out"][0]["study"] == "1.1.3"
    (line,) = left_out_lines(found)
    assert line.startswith("study 1.1.3 is not compared: the header has no")


def test_units_have_their_decimals() -> None:
    assert reading_text(Reading(0.333, "ratio", 0.05)) == "0.33 ± 0.050"
    assert reading_text(Reading(12.34, "deg")) == "12.3°"
    assert reading_text(Reading(1.0, "furlong")) == "1.00"
    assert reading_text(None) == "–"
