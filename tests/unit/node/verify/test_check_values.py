"""Values, volumes and warnings: an altered number, an absent sentence and a Dice value are found."""

from __future__ import annotations

import pytest

from node.verify import check_values, objects
from node.verify.objects import ResultSet

CHECKS = [
    check_values.lines_have_their_length,
    check_values.values_are_reported,
    check_values.volumes_agree,
    check_values.warnings_are_reported,
    check_values.nothing_claims_a_score,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_a_correct_result_passes(check: object, results: ResultSet) -> None:
    assert list(check(results)) == []  # type: ignore[operator]


def _number(results: ResultSet, name: str, ending: str) -> object:
    for group in objects.groups(results.objects[name]):
        if objects.tracking(group).endswith(ending):
            return objects.numbers(group)[0]
    raise AssertionError(ending)


@pytest.mark.parametrize(("change", "found"), [(0.04, 0), (0.06, 2), (-5.0, 2)])
def test_a_stored_value_that_is_not_its_line(results: ResultSet, change: float, found: int) -> None:
    measured = _number(results, "measurements.dcm", ":DAA").MeasuredValueSequence[0]  # type: ignore[attr-defined]
    measured.NumericValue = round(float(measured.NumericValue) + change, 4)
    texts = [
        *check_values.lines_have_their_length(results),
        *check_values.values_are_reported(results),
    ]
    assert [name for name, _ in texts] == ["measurements.dcm"] * found
    assert all(text.startswith("DAA: ") for _, text in texts)


def test_a_line_that_lies_elsewhere_with_the_same_length(results: ResultSet) -> None:
    (scoord,) = _number(results, "measurements.dcm", ":OC").ContentSequence[-1:]  # type: ignore[attr-defined]
    scoord.GraphicData = [v + 1.0 for v in scoord.GraphicData]
    assert list(check_values.lines_have_their_length(results)) == [
        ("measurements.dcm", "OC: its end points are not those of result.json")
    ]


def test_a_value_that_was_refused_and_one_that_no_report_holds(results: ResultSet) -> None:
    results.result["measurements"]["OC"]["value_mm"] = None
    results.result["measurements"]["PI"]["value_mm"] = 3.0
    results.result["extra"]["new"] = {"value_mm": 1.0}
    found = list(check_values.values_are_reported(results))
    assert [(n, t.split(":")[0]) for n, t in found] == [
        ("measurements.dcm", "OC"), ("", "PI"), ("", "new"),
    ]  # fmt: skip


def test_voxels_that_give_another_volume(results: ResultSet) -> None:
    ds = results.objects["seg.dcm"]
    frames = [f for f in ds.PerFrameFunctionalGroupsSequence
              if f.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1]  # fmt: skip
    frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 2
    found = set(check_values.volumes_agree(results))
    assert found == {
        ("seg.dcm", "l4: its voxels give another volume than result.json"),
        ("seg.dcm", "ivd: its voxels give another volume than result.json"),
        ("volumes.dcm", "l4: its volume is not that of its voxels"),
        ("volumes.dcm", "ivd: its volume is not that of its voxels"),
    }


def test_sentences_that_no_report_holds(results: ResultSet) -> None:
    results.result["warnings"].append({"code": "count_differs", "text": "3 mm² fewer"})
    results.result["level"]["warnings"] = ["the sacrum is not in view"]
    results.result["measurements"]["PI"]["refusal"]["text"] = "another reason"
    assert list(check_values.warnings_are_reported(results)) == [
        ("", "the warning count_differs of result.json is in no report: 3 mm² fewer"),
        ("", "a doubt of the level of result.json is in no report: the sacrum is not in view"),
        ("", "the refusal of PI of result.json is in no report: another reason"),
    ]


@pytest.mark.parametrize("word", ["Dice 0.9", "mean dice", "DSC: 0.91", "Sørensen"])
def test_a_dice_value(results: ResultSet, word: str) -> None:
    results.objects["midplane.dcm"].SpecificCharacterSet = "ISO_IR 192"
    results.objects["midplane.dcm"].DerivationDescription = word
    results.result["model"]["note"] = word
    assert list(check_values.nothing_claims_a_score(results)) == [
        ("result.json", "mentions a Dice value"), ("midplane.dcm", "mentions a Dice value"),
    ]  # fmt: skip


def test_a_word_that_only_looks_like_one(results: ResultSet) -> None:
    results.objects["midplane.dcm"].DerivationDescription = "indices of the dicer"
    assert list(check_values.nothing_claims_a_score(results)) == []


@pytest.mark.parametrize(
    ("unit", "change"), [("mm", 0.06), ("mm2", 0.02), ("deg", 0.002), ("ratio", 2e-4)]
)
def test_further_values_are_held_to_the_rounding_of_their_unit(
    results: ResultSet, unit: str, change: float
) -> None:
    named = {n: m for n, m in results.result["extra"].items()
             if m["unit"] == unit and m["value"] is not None}  # fmt: skip
    assert named, unit
    for measurement in named.values():
        measurement["value"] += change / 4
    assert list(check_values.values_are_reported(results)) == []
    for measurement in named.values():
        measurement["value"] += change
    texts = [text for _, text in check_values.values_are_reported(results)]
    assert texts == [f"{name}: its value is not that of result.json" for name in named]
