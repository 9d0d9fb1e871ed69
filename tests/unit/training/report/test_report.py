"""The report: pictures exist, the page fetches nothing and says what the figures say."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.cli.app import app
from training.data.cases import load_case
from training.errors import ResultsUnreadable
from training.evaluate import results_file
from training.evaluate.case_results import CaseResult, MeasuredPair, write_json, write_labels
from training.evaluate.metrics import MISSED, Score
from training.evaluate.results_file import card_json
from training.evaluate.summary import group, groups
from training.report import report
from training.report.pictures import outlines, surfaces
from training.report.tables import dice_table, markdown, measurement_tables

PNG = b"\x89PNG\r\n\x1a\n"


def figures(name: str, dice: float, shift: float = 0.0, **changes: object) -> CaseResult:
    scores = {"l4": Score("scored", dice, dice, dice, 1.0, 0.4), "n4": MISSED}
    pairs = {
        n: MeasuredPair(v + shift, v, "truth")
        for n, v in (("OC", 9.0 + shift), ("DAA", 12.0), ("DIVC", 20.0 - dice), ("PI", 2.0))
    }
    base = CaseResult(name, f"P-{name}", "phantom", "physical", True, 1.5, 0.9, "", 2.0, scores, pairs,
        {"mean_shape": {"l4": 0.5, "n4": 0.1}, "threshold": {"l4": 0.2}})  # type: ignore[arg-type]  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def evaluation(tiny_cases: Path, tmp_path: Path) -> Path:
    """Figures of the tiny phantoms, with labels found for two of three."""
    cases = [
        figures("phantom-000001", 0.9, 0.5),
        figures("phantom-000002", 0.7, -0.25, contrast="randomised"),
        figures("phantom-000003", 0.0, level_error_mm=None, why="not in view <here>"),
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


def test_seen_cases_and_kinds_of_contrast_are_kept_apart() -> None:
    summaries = groups(
        [
            figures("a", 0.9),
            figures("b", 0.8, contrast="randomised"),
            figures("c", 0.7, unseen=False),
        ]
    )
    assert [(g.name, g.cases) for g in summaries] == [
        ("phantom", 2),
        ("phantom, physical contrast", 1),
        ("phantom, randomised contrast", 1),
        ("phantom, perhaps trained on", 1),
    ]


def test_a_group_counts_what_is_missed_and_refused() -> None:
    refused = MeasuredPair(None, 9.0, "truth", "cut_by_image")
    unknown = MeasuredPair(3.0, None, "truth")
    cases = [
        figures("a", 0.9, 0.5),
        figures("b", 0.8, -0.5),
        figures("c", 0.86, measurements={"OC": refused, "PI": unknown}),
        figures("d", 0.0, scores={}, measurements={}),
    ]
    summary = group("all", cases)
    l4, n4, mean = summary.structures
    assert (l4.dice.n, l4.dice.least, l4.above) == (3, 0.8, {"0.85": 2 / 3, "0.90": 0.0})
    assert (n4.missed, n4.dice.mean, n4.hd95_mm) == (3, 0.0, None)
    assert mean.dice.mean == pytest.approx((0.45 + 0.4 + 0.43) / 3)
    assert mean.baselines["mean_shape"] == pytest.approx(0.3)
    by_name = {r.name: r for r in summary.measurements}
    assert by_name["OC"].agreement is not None
    assert (by_name["OC"].agreement.n, by_name["OC"].agreement.error.mean) == (2, 0.5)
    assert by_name["OC"].refused == {"cut_by_image": 1}
    assert (by_name["PI"].without_reference, by_name["DAA"].refused) == (1, {})


def test_a_reference_is_covered_inside_the_range_or_within_twice_the_uncertainty() -> None:
    pairs = [
        MeasuredPair(10.0, 10.9, "truth", uncertainty_mm=0.5),
        MeasuredPair(10.0, 11.1, "truth", uncertainty_mm=0.5),
        MeasuredPair(20.0, 9.0, "truth", range_mm=(8.5, 21.0)),
        MeasuredPair(20.0, 8.0, "truth", range_mm=(8.5, 21.0)),
        MeasuredPair(10.0, 10.0, "truth"),
        MeasuredPair(None, 10.0, "truth", "cut_by_image"),
    ]
    summary = group(
        "all", [figures(str(n), 0.9, measurements={"DAA": p}) for n, p in enumerate(pairs)]
    )
    [row] = summary.measurements
    assert (row.covered, row.ranges) == (2, 2)
    assert "| 2 (with a range: 2) |" in markdown(measurement_tables(summary)[1])


def test_the_models_sd_is_of_values_that_carry_one() -> None:
    """A value at a bifurcation carries its range; its error says nothing of the others."""
    plain = [figures(str(n), 0.9, measurements={"DAA": MeasuredPair(10.0 + n % 2, 10.0, "truth")}) for n in range(10)]  # fmt: skip
    wild = MeasuredPair(21.0, 9.0, "truth", range_mm=(8.5, 21.0))
    cases = [*plain, figures("wild", 0.9, measurements={"DAA": wild})]
    assert card_json(cases)["model_sd_mm"] == {"DAA": 0.527}
    assert "model_sd_mm" not in card_json([*plain[1:], cases[-1]])


def test_tables_carry_the_papers_rows() -> None:
    summary = group("phantom", [figures("a", 0.9, 0.5), figures("b", 0.8, -0.5)])
    text = markdown(dice_table(summary))
    assert "| L4 | 2 | 0.850 |" in text
    assert "| paper | 50 | 0.931 |" in text
    assert "| paper | 50 | 0.886 |" not in text  # its mean is of eight structures, ours of two
    values, agreements = measurement_tables(summary)
    assert values.rows[1][:3] == ("paper", "50", "9.21 ± 4.90 (0.00–17.97)")
    assert agreements.rows[1][3] == "-2.05 to 2.32"
    assert values.beside == frozenset({1, 3, 5, 7})


def test_the_cards_sd_is_of_unseen_cases_and_needs_ten() -> None:
    few = [figures(f"c{n}", 0.9, 0.1 * n) for n in range(9)]
    assert "model_sd_mm" not in card_json(few)
    seen = [*few, figures("seen", 0.9, 50.0, unseen=False)]
    assert "model_sd_mm" not in card_json(seen)
    ten = [*few, figures("c9", 0.9, 0.9)]
    sd = np.std(np.arange(10) / 10, ddof=1)
    assert card_json(ten)["model_sd_mm"]["DAA"] == pytest.approx(sd, abs=1e-3)
    assert "model_share" not in card_json(ten)  # too few, and none tells its softness
    assert card_json(ten)["evaluation"][0]["dice"]["l4"]["mean"] == 0.9


def test_pictures_show_both_label_maps(tiny_cases: Path) -> None:
    case = load_case(tiny_cases / "phantom" / "phantom-000001.npz")
    for found, drawn in ((case.labels, 2), (None, 1)):
        axes = surfaces(case, found).axes
        assert [len(ax.collections) for ax in axes] == [1, drawn - 1]
        axial, sagittal = outlines(case, found).axes
        assert len(axial.collections) >= drawn
        assert len(sagittal.collections) >= 2 * drawn
