"""The report: pictures exist, the page fetches nothing and shows the results."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.case_results import case_result
from training.cli.app import app
from training.data.cases import load_case
from training.errors import ResultsUnreadable
from training.evaluate import results_file
from training.evaluate.case_results import write_json, write_labels
from training.report import report
from training.report.pictures import outlines, surfaces

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def evaluation(tiny_cases: Path, tmp_path: Path) -> Path:
    """Figures of the tiny phantoms, with labels found for two of three."""
    cases = [
        case_result("phantom-000001", 0.9, 0.5),
        case_result("phantom-000002", 0.7, -0.25, contrast="randomised"),
        case_result("phantom-000003", 0.0, level_error_mm=None, why="not in view <here>"),
    ]
    file = tmp_path / "figures.json"
    write_json(file, results_file.results_json(cases, {"name": "b & c"}, ["a note"]))
    kept = file.with_suffix(".cases")
    kept.mkdir()
    case = load_case(tiny_cases / "phantom" / "phantom-000001.npz")
    write_labels(kept, "phantom-000001", np.roll(case.labels, 1, axis=1))
    return file


class Reader(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parser's argument
        self.sources += [v or "" for k, v in attrs if k in {"src", "href", "data", "srcset"}]


def test_the_page_holds_everything_and_fetches_nothing(
    evaluation: Path, tiny_cases: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    call = ["report", "--results", str(evaluation), "--cases", str(tiny_cases), "--out", str(out)]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    page = (out / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert len(reader.sources) == 8  # four plots, two pictures of two cases each
    assert all(s.startswith("data:image/png;base64,") for s in reader.sources)
    assert not re.search(r"url\(|@import|<script|<link", page)
    assert "b &amp; c" in page
    assert "not in view &lt;here&gt;" in page
    assert "No pictures of phantom-000002" in page
    assert "a note" in page
    pictures = sorted(p.name for p in out.glob("*.png"))
    assert "phantom-000001-surfaces.png" in pictures
    assert len(pictures) == 8
    assert all((out / p).read_bytes().startswith(PNG) for p in pictures)
    assert json.loads((out / "figures.json").read_text())["schema"] == results_file.SCHEMA
    assert "| paper | 50 | 0.931 |" in (out / "tables.md").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO((out / "figures.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 3 * (2 + 4)
    assert (rows[0]["dice"], rows[0]["hd95_mm"], rows[1]["state"]) == ("0.9", "1.0", "missed")


def test_unreadable_figures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsUnreadable, match="evaluate --out"):
        report.read_evaluation(tmp_path / "none.json")
    file = tmp_path / "figures.json"
    write_json(file, {"schema": 99})
    with pytest.raises(ResultsUnreadable, match="schema 99"):
        report.read_evaluation(file)
    write_json(file, {"schema": results_file.SCHEMA, "cases": []})
    with pytest.raises(ResultsUnreadable, match="no case"):
        report.read_evaluation(file)


def test_pictures_show_both_label_maps(tiny_cases: Path) -> None:
    case = load_case(tiny_cases / "phantom" / "phantom-000001.npz")
    for found, drawn in ((case.labels, 2), (None, 1)):
        axes = surfaces(case, found).axes
        assert [len(ax.collections) for ax in axes] == [1, drawn - 1]
        axial, sagittal = outlines(case, found).axes
        assert len(axial.collections) >= drawn
        assert len(sagittal.collections) >= 2 * drawn
