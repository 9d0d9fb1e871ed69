"""What a results file and a card hold."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.case_results import case_result
from training.evaluate.case_results import MeasuredPair
from training.evaluate.results_file import card_json


def test_the_models_sd_is_of_values_that_carry_one() -> None:
    """A value at a bifurcation carries its range; its error says nothing of the others."""
    plain = [case_result(str(n), 0.9, measurements={"DAA": MeasuredPair(10.0 + n % 2, 10.0, "truth")}) for n in range(10)]  # fmt: skip
    wild = MeasuredPair(21.0, 9.0, "truth", range_mm=(8.5, 21.0))
    cases = [*plain, case_result("wild", 0.9, measurements={"DAA": wild})]
    assert card_json(cases)["model_sd_mm"] == {"DAA": 0.527}
    assert "model_sd_mm" not in card_json([*plain[1:], cases[-1]])


def test_the_cards_sd_is_of_unseen_cases_and_needs_ten() -> None:
    few = [case_result(f"c{n}", 0.9, 0.1 * n) for n in range(9)]
    assert "model_sd_mm" not in card_json(few)
    seen = [*few, case_result("seen", 0.9, 50.0, unseen=False)]
    assert "model_sd_mm" not in card_json(seen)
    ten = [*few, case_result("c9", 0.9, 0.9)]
    sd = np.std(np.arange(10) / 10, ddof=1)
    assert card_json(ten)["model_sd_mm"]["DAA"] == pytest.approx(sd, abs=1e-3)
    assert "model_share" not in card_json(ten)  # too few, and none tells its softness
    assert card_json(ten)["evaluation"][0]["dice"]["l4"]["mean"] == 0.9
