"""The table of `verify`: 80 columns, words instead of colours, absent tools named with their remedy."""

from __future__ import annotations

import json

from node.cli import verify_tables as tables
from node.verify.report import TOGETHER, Answer, Finding, FolderReport, Installed, Report
from node.verify.run import OWN
from node.verify.tools import REMEDIES

NAMES = ("seg.dcm", "measurements.dcm", "surfaces/a-name-as-long-as-ours-get.stl", TOGETHER)


def _report() -> Report:
    answers = [
        *(Answer(tool, "measurements.dcm", (Finding("warning", "w", 11), Finding("known", "k", 99, "why")))
          for tool in REMEDIES),
        Answer("DCMTK", "seg.dcm"),
        Answer("dcmqi", "seg.dcm", (Finding("error", "e"),)),
        Answer("dciodvfy", "seg.dcm", (Finding("known", "k", 7, "why"),)),
        Answer(OWN, TOGETHER, (Finding("error", "one", 12), Finding("error", "other"))),
    ]  # fmt: skip
    tools = (*(Installed(t, t.lower(), "1.0") for t in REMEDIES if t != "validator"),
             Installed("validator", "validate_iods", "", "install it"),
             Installed("DCMTK", "dcm2pdf", "", "apt install dcmtk"))  # fmt: skip
    return Report(tools, (FolderReport("/r", NAMES, tuple(answers)),))


def test_cells_say_the_worst() -> None:
    report = _report()
    lines = list(tables.folder_table(report, report.folders[0]).lines())
    assert lines[0].split() == [
        "object",
        "dciodvfy",
        "DCMTK",
        "dcmqi",
        "highdicom",
        "dicomweb",
        "own",
    ]
    assert lines[1].split() == ["seg", "7", "known", "ok", "1", "error", "-", "-", "-"]
    assert lines[2].split()[:3] == ["measurements", "11", "warn."]
    assert lines[4].split() == [TOGETHER, *["-"] * 5, "13", "errors"]


def test_the_table_has_80_columns() -> None:
    """Two digits in every cell; the validator, which is rarely there, beside cells of the usual width."""
    report = _report()
    lines = list(tables.folder_table(report, report.folders[0]).lines())
    assert max(len(line) for line in lines) <= 80
    assert "…" in lines[3]
    usual = tuple(Answer(t, "measurements.dcm", (Finding("known", "k", 99, "why"),))
                  for t in ("dciodvfy", "dcmqi", "validator"))  # fmt: skip
    folder = FolderReport("/r", NAMES, usual)
    every = Report(tuple(Installed(t, t, "1") for t in REMEDIES), (folder,))
    assert max(len(line) for line in tables.folder_table(every, folder).lines()) <= 80


def test_findings_one_a_line_and_known_ones_with_their_reason() -> None:
    report = _report()
    lines = list(tables.finding_lines(report.folders[0]))
    assert "error: seg.dcm: dcmqi: e" in lines
    assert f"error: {TOGETHER}: own: one (12 times)" in lines
    assert "known: dciodvfy: why (106 times)" in lines
    assert [line.split(":")[0] for line in lines] == ["error"] * 3 + ["warning"] * 6 + ["known"] * 6


def test_the_same_finding_of_many_objects_is_one_line() -> None:
    answers = [Answer("dciodvfy", f"{n}.dcm", (Finding("warning", "w"),)) for n in range(18)]
    lines = list(tables.finding_lines(FolderReport("/r", (), tuple(answers))))
    assert lines == [
        "warning: 0.dcm and 17 more: dciodvfy: w (18 times)",
        "own checks were left out: the folder has no result.json",
    ]


def test_absent_tools_and_json() -> None:
    report = _report()
    assert list(tables.tool_lines(report)) == [
        "validator: not installed (validate_iods): install it",
        "DCMTK: not installed (dcm2pdf): apt install dcmtk",
    ]
    found = json.loads(json.dumps(tables.report_json(report)))
    assert found["total"] == {"error": 14, "warning": 66, "known": 601}
    assert found["folders"][0]["answers"][0]["findings"][0]["count"] == 11
