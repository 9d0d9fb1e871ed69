"""Results of single cases, summarised by group."""

from __future__ import annotations

import pytest

from dicomseg.structures import StructureId
from tests.support.case_results import case_result
from training.data.cases import ALL_STRUCTURES, CaseSource
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.metrics import Score
from training.evaluate.results_file import card_json
from training.evaluate.summary import group, groups


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


def test_seen_cases_and_kinds_of_contrast_are_kept_apart() -> None:
    summaries = groups(
        [
            case_result("a", 0.9),
            case_result("b", 0.8, contrast="randomised"),
            case_result("c", 0.7, unseen=False),
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
        case_result("a", 0.9, 0.5),
        case_result("b", 0.8, -0.5),
        case_result("c", 0.86, measurements={"OC": refused, "PI": unknown}),
        case_result("d", 0.0, scores={}, measurements={}),
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
