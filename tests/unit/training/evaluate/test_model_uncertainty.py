"""What a model adds to the uncertainty follows from its errors, and from how soft their values were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dicomseg.result import ModelError
from training.evaluate.model_uncertainty import MIN_SD_MM, card_values, fit_error


def heavy(rng: np.random.Generator, sd: Sequence[float] | float) -> list[float]:
    """4000 errors with a few large ones: Student's t of four degrees of freedom, of this standard deviation."""
    return list(rng.standard_t(4, 4000) / np.sqrt(2) * np.asarray(sd))


def test_errors_that_grow_with_the_softness_are_found_as_such() -> None:
    rng = np.random.default_rng(3)
    soft = rng.uniform(0, 4, 4000)
    errors = [e + 5.0 for e in heavy(rng, np.hypot(0.4, 0.8 * soft))]
    found = fit_error(errors, soft.tolist())
    assert found.sd_mm == pytest.approx(0.4, abs=0.05)
    assert found.share == pytest.approx(0.8, abs=0.04)


def test_errors_that_do_not_depend_on_it_give_their_plain_deviation() -> None:
    rng = np.random.default_rng(4)
    found = fit_error(heavy(rng, 1.5), rng.uniform(0.5, 2, 4000).tolist())
    assert found.of(1.0) == pytest.approx(1.5, abs=0.06)
    assert found.share < 0.5


def test_one_value_that_is_entirely_wrong_does_not_make_the_others_uncertain() -> None:
    rng = np.random.default_rng(5)
    errors = rng.normal(0, 0.5, 80).tolist()
    soft = [0.0] * 80
    assert fit_error([*errors, 12.0], [*soft, 0.0]).sd_mm < 0.8 < np.std([*errors, 12.0])


def test_no_value_is_surer_than_a_contour() -> None:
    found = fit_error([0.0] * 40, [0.0] * 40)
    assert found.sd_mm == pytest.approx(MIN_SD_MM)


def test_a_value_has_its_own_and_its_softness_share() -> None:
    assert ModelError(0.3, 0.5).of(0.8) == pytest.approx(0.5)
    assert ModelError(0.3, 0.5).of(None) == 0.3


def test_the_card_holds_both_and_no_empty_table() -> None:
    fields = card_values({"OC": ModelError(0.5, 0.25), "PI": ModelError(0.7)})
    assert fields == {"model_sd_mm": {"OC": 0.5, "PI": 0.7}, "model_share": {"OC": 0.25}}
    assert card_values({}) == {}
