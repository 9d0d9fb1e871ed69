"""A further value as a person reads it, in its unit."""

from __future__ import annotations

from typing import Any

import pytest

from dicomseg.measure.value_text import value_text
from dicomseg.result import FurtherValue, Measurement, Refusal, Unit


def further(unit: Unit, **more: Any) -> FurtherValue:
    return FurtherValue("x", "", unit, **more)


@pytest.mark.parametrize(
    ("m", "text"),
    [
        (further("mm2", value=863.57, uncertainty=8.1), "864 ± 8 mm²"),
        (further("mm2", value=80.3), "80.3 mm²"),
        (further("deg", value=-5.46, uncertainty=0.86), "-5.5 ± 0.9°"),
        (further("deg", value=-0.04, uncertainty=0.2), "0.0 ± 0.2°"),
        (further("ratio", value=0.5691, uncertainty=0.0016), "56.9 ± 0.2 %"),
        (further("ratio", value=0.5691, range=(0.5, 0.61)), "57 (50 to 61) %"),
        (further("mm", value=-8.56, range=(-8.77, -8.31)), "-8.6 (-8.8 to -8.3) mm"),
        (further("mm", refusal=Refusal("missing", "")), ""),
        (Measurement("OC", "", value_mm=12.34, uncertainty_mm=0.56), "12.3 ± 0.6 mm"),
    ],
)
def test_a_value_is_no_finer_than_its_uncertainty(m: Any, text: str) -> None:
    assert value_text(m) == text
