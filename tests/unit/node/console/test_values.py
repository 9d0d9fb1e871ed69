from __future__ import annotations

from typing import Any

import pytest

from node.console.values import values_of


def _one(**changes: Any) -> dict[str, Any]:
    return {"value_mm": 12.34, "uncertainty_mm": 0.56, "range_mm": None, "side": "left", "note": "", "flags": ["thick_slices"], "refusal": None} | changes  # fmt: skip


RESULT = {
    "measurements": {
        "OC": _one(),
        "DAA": _one(range_mm=[10.0, 20.9], uncertainty_mm=None),
        "PI": _one(value_mm=None, refusal={"code": "no_section", "text": "right psoas: not visible"}),
    },
    "extra": {
        "disc_angle": {"unit": "deg", "value": 12.67, "uncertainty": 2.08, "range": None, "flags": []},
        "psoas_zone_left": {"unit": "ratio", "value": 0.8747, "uncertainty": 0.0459, "range": None, "category": "IV"},
        "dural_sac_area": {"unit": "mm2", "value": 145.44, "uncertainty": 13.71, "range": None},
        "aortic_bifurcation_height": {"unit": "mm", "value": 1.25, "uncertainty": None, "range": [0.0, 3.66]},
        "psoas_area_left": {"unit": "mm2", "value": None},
    },
    "warnings": [{"code": "c", "text": "Dural sac is cut"}],
    "model": {"name": "m", "version": "1"},
    "level": {"name": "L4/L5", "confidence": 0.987},
}  # fmt: skip


def test_values_have_uncertainty_or_range_and_unit() -> None:
    found = values_of(RESULT)
    assert found is not None
    assert [v.text for v in found.main] == ["12.3 ± 0.6 mm", "12.3 (10.0–20.9) mm", "–"]
    assert found.main[0].doubts == ("thick slices",)
    assert found.main[2].refusal == "right psoas: not visible"
    assert [v.text for v in found.further] == [
        "12.7 ± 2.1°", "0.87 ± 0.05, IV", "145 ± 14 mm²", "1.2 (0.0–3.7) mm", "–",
    ]  # fmt: skip
    assert (found.warnings, found.model) == (("Dural sac is cut",), "m 1")


@pytest.mark.parametrize("result", [{}, {"measurements": 3}, {"measurements": {"OC": {}}}, RESULT | {"level": None}])  # fmt: skip
def test_another_file_has_no_values(result: dict[str, Any]) -> None:
    assert values_of(result) is None
