"""The rule by which a candidate is proposed, on scores whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dicomseg.structures import STRUCTURES, StructureId
from training.data.cases import ALL_STRUCTURES
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.metrics import Score
from training.retrain.gate import GateDecision, decide, p_worse

N = 8
NO_REFERENCE = "OC, DAA, DIVC, PI: no held-out case has a reference, so it was not compared"


def result(case: str, dice: dict[StructureId, float]) -> CaseResult:
    scores = {name: Score("scored", value, 1.0, 1.0) for name, value in dice.items()}
    return CaseResult(case, case, "phantom", "", True, 1.0, 0.9, "", 1.0, scores, {})


def scores(of: Callable[[int, str], float], cases: int = N) -> list[CaseResult]:
    return [result(f"c{n}", {s: of(n, s) for s in ALL_STRUCTURES}) for n in range(cases)]


def measured_cases(errors: list[float | None], dice: float) -> list[CaseResult]:
    """Cases with an OC of 10 mm, measured with these errors; None is refused."""
    return [
        replace(
            result(f"c{n}", dict.fromkeys(ALL_STRUCTURES, dice)),
            measurements={"OC": MeasuredPair(None if e is None else 10.0 + e, 10.0, "labels")},
        )
        for n, e in enumerate(errors)
    ]


def old(cases: int = N) -> list[CaseResult]:
    return scores(lambda n, _: 0.80 + 0.01 * n, cases)


def judged(change: Callable[[int, str], float], cases: int = N) -> GateDecision:
    new = scores(lambda n, s: 0.80 + 0.01 * n + change(n, s), cases)
    return decide(old(cases), new, 0.01)


def test_better_everywhere_is_proposed_with_its_figures() -> None:
    found = judged(lambda *_: 0.02)
    assert (found.verdict, found.reasons) == ("proposed", ())
    assert found.notes == (NO_REFERENCE,)
    assert [r.structure for r in found.rows] == [s.id for s in STRUCTURES]
    row = found.rows[0]
    assert row.pairs == N
    assert row.in_service == pytest.approx(0.835)
    assert row.candidate == pytest.approx(0.855)
    assert row.difference == pytest.approx(0.02)
    assert row.p_worse == pytest.approx(1.0)


def test_one_structure_worse_by_more_than_the_margin_rejects() -> None:
    # Large and of both signs, so that the test alone would let it pass.
    found = judged(lambda n, s: (0.10 if n % 2 else -0.15) if s == "ivd" else 0.02)
    assert found.verdict == "rejected"
    assert found.reasons == ("ivd: mean Dice 0.8100 is worse than 0.8350 by more than 0.01",)


def test_small_but_significant_loss_rejects_inside_the_margin() -> None:
    found = judged(lambda n, s: -0.004 - 0.0001 * n if s == "aa" else 0.02)
    (reason,) = found.reasons
    # All eight differences are negative: p is 2⁻⁸.
    assert reason == "aa: significantly worse by 0.0043 (p = 0.0039)"


def test_small_loss_that_chance_explains_is_no_reason() -> None:
    found = judged(lambda n, s: (0.004 if n % 2 else -0.006) if s == "aa" else 0.02)
    assert found.verdict == "proposed"


def test_loss_of_just_the_margin_is_allowed_and_a_little_more_is_not() -> None:
    def shifted(by: float) -> GateDecision:
        return judged(lambda n, s: (by + (0.05 if n % 2 else -0.05)) if s == "l4" else 0.02)

    assert shifted(-0.0099).verdict == "proposed"
    assert shifted(-0.0101).verdict == "rejected"


def test_same_model_again_is_rejected_because_nothing_is_better() -> None:
    found = judged(lambda *_: 0.0)
    assert found.reasons == ("no structure's mean is better",)
    assert {r.p_worse for r in found.rows} == {1.0}


def test_few_cases_are_decided_by_the_margin_and_say_so() -> None:
    found = judged(lambda _, s: -0.005 if s == "l5" else 0.01, cases=4)
    assert found.verdict == "proposed"
    assert found.notes == (
        "l4, ivd, l5, dura, n4, aa, pm, ivc: fewer than 5 cases, the margin alone decided",
        NO_REFERENCE,
    )
    assert all(r.p_worse is None for r in found.rows)


def test_structure_that_no_case_shows_rejects_and_unpaired_cases_do_not_count() -> None:
    before = [result("a", {"l4": 0.8}), result("b", {"l4": 0.2})]
    after = [result("a", {"l4": 0.9})]
    found = decide(before, after)
    assert found.rows[0].pairs == 1
    assert found.rows[0].in_service == 0.8
    assert "ivd: no held-out case shows it, so it was not compared" in found.reasons
    assert not any(r.startswith("l4") for r in found.reasons)


def test_p_is_the_exact_one_of_wilcoxons_table() -> None:
    assert p_worse([-1, -2, -3, -4, -5]) == pytest.approx(1 / 32)
    assert p_worse([-1, -2, -3, -4, 5]) == pytest.approx(10 / 32)  # rank sum 5 or less: 10 of 32
    assert p_worse([0.0] * 6) == 1.0
    assert p_worse([0.0, 0.0, -1.0, -1.0, -1.0]) is not None
    assert p_worse([-1.0] * 4) is None


def test_better_dice_with_worse_measurements_is_rejected_with_its_reason() -> None:
    before = measured_cases([0.5] * N, 0.80)
    found = decide(before, measured_cases([0.9] * N, 0.85))
    assert all(row.difference and row.difference > 0 for row in found.rows)
    assert found.verdict == "rejected"
    assert found.reasons == ("OC: median error 0.90 mm is worse than 0.50 mm by more than 0.3 mm",)
    content = found.to_json()
    assert content["measurements"][0]["candidate_mm"] == pytest.approx(0.9)
    assert content["rule"]["margin_mm"] == 0.3
    assert decide(before, measured_cases([0.9] * N, 0.85), margin_mm=0.5).reasons == (
        "OC: median error significantly worse by 0.40 mm (p = 0.0039)",
    )
