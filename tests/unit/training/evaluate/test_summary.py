"""Results of single cases, summarised by group."""

from __future__ import annotations

import pytest

from dicomseg.structures import StructureId
from training.data.cases import ALL_STRUCTURES, CaseSource
from training.evaluate.case_results import CaseResult
from training.evaluate.metrics import Score
from training.evaluate.results_file import card_json
from training.evaluate.summary import groups


def result(
    case: str, source: CaseSource, dice: dict[StructureId, float], error_mm: float | None
) -> CaseResult:
    scores = {name: Score("scored", value, 1.0, 1.0) for name, value in dice.items()}
    return CaseResult(case, case, source, "", True, error_mm, 0.8, "", 2.0, scores, {})


def test_every_case_of_a_source_counts() -> None:
    results = [
        result("a", "phantom", dict.fromkeys(ALL_STRUCTURES, 0.9), 1.0),
        result("b", "phantom", dict.fromkeys(ALL_STRUCTURES, 0.5), None),
        result("c", "spider", {"l4": 0.8}, 2.0),
    ]
    phantom, spider = groups(results)
    assert [r.structure for r in phantom.structures] == [*ALL_STRUCTURES, "all"]
    dice = phantom.structures[0].dice
    assert (dice.n, dice.mean, dice.least) == (2, pytest.approx(0.7), 0.5)
    assert [(r.structure, r.dice.n) for r in spider.structures] == [("l4", 1), ("all", 1)]
    assert (phantom.level.cases, phantom.level.found, phantom.level.near) == (2, 1, 1)
    card = card_json(results)["evaluation"]
    assert [(g["cases"], g["n"], g["level_within_8_mm"]) for g in card] == [
        ("phantom", 2, 1),
        ("spider", 1, 1),
    ]
    assert card[0]["dice"]["l4"] == {"mean": 0.7, "median": 0.7, "least": 0.5}
