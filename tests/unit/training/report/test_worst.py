"""Which cases are drawn, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.cases import load_case
from training.evaluate.case_results import CaseResult, write_labels
from training.evaluate.metrics import Score
from training.report.worst import Side, draw_worst, worst_cases


def result(name: str, *dice: float, found: bool = True) -> CaseResult:
    scores = {k: Score("scored", v, 1.0, 1.0) for k, v in zip(("l4", "ivd"), dice, strict=False)}
    level = 1.0 if found else None
    return CaseResult(name, name, "phantom", "", True, level, 0.9, "" if found else "lost", 0.1, scores, {})  # type: ignore[arg-type]  # fmt: skip


def test_the_lowest_mean_comes_first_and_a_case_without_a_score_not_at_all() -> None:
    cases = [result("a", 0.9, 0.7), result("b", 0.2, 0.4), result("c"), result("d", 0.5)]
    assert [c.case_id for c in worst_cases(cases, 2)] == ["b", "d"]


def test_files_are_numbered_and_a_missed_level_is_said(tiny_cases: Path, tmp_path: Path) -> None:
    name = "phantom-000001"
    paths = {name: tiny_cases / "phantom" / f"{name}.npz"}
    write_labels_of = np.asarray(load_case(paths[name]).labels, np.uint8)
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "labels", name, write_labels_of)
    (tmp_path / "worst").mkdir()
    (tmp_path / "worst" / "9-candidate.png").write_text("of an earlier comparison")
    made = draw_worst(
        tmp_path,
        paths,
        Side("candidate", [result(name, 0.25, 0.75)], tmp_path / "labels"),
        Side("in_service", [result(name, 0.0, 0.0, found=False)], tmp_path / "nothing"),
    )
    assert [p["file"] for p in made] == ["worst/1-candidate.png", "worst/1-in_service.png"]
    assert [p["caption"] for p in made] == ["mean Dice 0.500", "mean Dice 0.000, lost"]
    assert sorted(p.name for p in (tmp_path / "worst").iterdir()) == ["1-candidate.png", "1-in_service.png"]  # fmt: skip
