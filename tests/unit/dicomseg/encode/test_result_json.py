"""The form of further values in `result.json`: one for all units, and the fields of lengths as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

COMMON = {
    "unit", "value", "uncertainty", "range", "softness", "category", "uncertainty_note", "side",
    "from", "to", "points_mm", "method", "note", "flags", "refusal",
}  # fmt: skip
OF_LENGTHS = {"value_mm", "uncertainty_mm", "range_mm", "softness_mm"}


@pytest.fixture(scope="module")
def result(studio: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(studio.encode(studio.slices())["result.json"])
    return content


def test_every_further_value_has_the_same_form(result: dict[str, Any]) -> None:
    extra = result["extra"]
    assert {m["unit"] for m in extra.values()} == {"mm", "mm2", "deg", "ratio"}
    for name, m in extra.items():
        assert set(m) - OF_LENGTHS == COMMON, name
        assert (m["value"] is None) == (m["refusal"] is not None), name


def test_lengths_keep_their_fields_and_others_have_none_of_them(result: dict[str, Any]) -> None:
    height, area = result["extra"]["disc_height_middle"], result["extra"]["psoas_area_left"]
    assert set(height) >= OF_LENGTHS
    for field in ("value", "uncertainty", "range", "softness"):
        assert height[field] == height[f"{field}_mm"]
    assert OF_LENGTHS.isdisjoint(area)
    assert area["unit"] == "mm2"
    assert len(area["points_mm"]) > 20
    assert set(result["measurements"]["OC"]) == (COMMON | OF_LENGTHS) - {
        "unit", "value", "uncertainty", "range", "softness", "category",
    }  # fmt: skip


def test_a_zone_is_a_class_beside_its_number(result: dict[str, Any]) -> None:
    zone = result["extra"]["psoas_zone_left"]
    assert zone["category"] == "IV"
    assert 0.75 < zone["value"] <= 1.0
    assert result["extra"]["psoas_front_left"]["category"] is None
