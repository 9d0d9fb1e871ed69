"""Model errors and outline shifts come from the card, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomseg.result import ModelError
from model.bundle.calibration import model_errors, outline_shifts
from model.errors import BundleError

FOLDER = Path("bundle")


def test_a_card_without_an_evaluation_has_neither() -> None:
    assert model_errors({}, FOLDER) == {}
    assert outline_shifts({}, FOLDER) == {}


def test_a_share_belongs_to_its_deviation() -> None:
    card = {"model_sd_mm": {"OC": 0.3, "PI": 0.2}, "model_share": {"OC": 0.5}}
    assert model_errors(card, FOLDER) == {"OC": ModelError(0.3, 0.5), "PI": ModelError(0.2)}


@pytest.mark.parametrize("key", ["model_sd_mm", "model_share"])
@pytest.mark.parametrize("value", [[1.5], {"OC": -0.1}, {"OC": "1.5"}, {"OC": float("nan")}])
def test_errors_that_are_not_sizes_are_refused(key: str, value: Any) -> None:
    with pytest.raises(BundleError, match=f"card.json: {key} is not a table"):
        model_errors({key: value}, FOLDER)


def test_shifts_may_be_negative() -> None:
    assert outline_shifts({"outline_shifts": {"aa": -1.0, "pm": 0.5}}, FOLDER) == {
        "aa": -1.0,
        "pm": 0.5,
    }


@pytest.mark.parametrize("value", [[1.5], {"aorta": -1.0}, {"aa": "1"}, {"aa": float("nan")}])
def test_shifts_that_are_not_numbers_by_structure_are_refused(value: Any) -> None:
    with pytest.raises(BundleError, match=r"card.json: outline_shifts is not a table"):
        outline_shifts({"outline_shifts": value}, FOLDER)
