"""Series are accepted by a rule or refused with one sentence per reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicomseg.read import judge as judge_module
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.judge import could_accept, judge
from dicomseg.read.rules import DEFAULT_RULES, PREDICATE_NAMES, Rule
from dicomseg.read.series import assemble

SPACE = Instance(
    path=Path("x.dcm"),
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    sop_instance_uid="1.2.3.4",
    study_uid="1.2.3",
    series_uid="1.2.3.1",
    frame_of_reference_uid="1.2.3.9",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    digest="0" * 64,
    modality="MR",
    image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
    body_part="LSPINE",
    scanning_sequence=("SE",),
    acquisition_type="3D",
    sequence_name="*spcR_93d1rs",
    repetition_time_ms=2800.0,
    echo_time_ms=189.0,
    flip_angle_deg=45.0,
    echo_train_length=60,
    rows=320,
    columns=320,
    spacing_mm=(0.75, 0.75),
    slice_thickness_mm=0.8,
    position_lps=(0.0, 0.0, 0.0),
    row_lps=(1.0, 0.0, 0.0),
    column_lps=(0.0, 1.0, 0.0),
    has_pixels=True,
)


def _series(slices: int, **changes: object) -> list[Instance]:
    return [
        replace(
            SPACE,
            sop_instance_uid=f"1.2.3.4.{n}",
            instance_number=n,
            position_lps=(0.0, 0.0, 0.8 * n),
            **changes,
        )
        for n in range(1, slices + 1)
    ]


def _judge(instances: list[Instance], rules: tuple[Rule, ...] = DEFAULT_RULES):  # type: ignore[no-untyped-def]
    return judge(instances, assemble(instances), rules)


def test_t2_space_of_the_lumbar_spine_is_accepted() -> None:
    verdict = _judge(_series(20))
    assert (verdict.value, verdict.rule) == ("yes", "t2-space")
    assert "TE 189 ms" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("changes", "value", "reason"),
    [
        (
            {"inversion_time_ms": 1800.0},
            "no",
            "not a 3D T2 SPACE acquisition: inversion recovery, TI 1800 ms (a FLAIR)",
        ),
        ({"inversion_time_ms": 160.0}, "no", "TI 160 ms (a STIR)"),
        ({"echo_time_ms": 12.0}, "no", "not a 3D T2 SPACE acquisition: TE 12 ms is below 60 ms"),
        ({"image_type": ("DERIVED", "PRIMARY", "MPR")}, "no", "derived, not acquired: Image Type"),
        (
            {"image_type": ()},
            "unknown",
            "cannot confirm an acquired image: Image Type (0008,0008) value 1",
        ),
        ({"body_part": "HEAD"}, "no", "not the lumbar spine: body part HEAD"),
        (
            {"echo_time_ms": None},
            "unknown",
            "cannot confirm a 3D T2 SPACE acquisition: Echo Time is absent",
        ),
        ({"acquisition_type": "2D"}, "no", "not a 3D T2 SPACE acquisition: MR Acquisition Type 2D"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "no", "a localizer: "),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4"}, "no", "not an MR image: SOP class"),
    ],
)
def test_each_refusal_explains_itself(changes: dict[str, object], value: str, reason: str) -> None:
    verdict = _judge(_series(20, **changes))
    assert verdict.value == value
    assert any(reason in r for r in verdict.reasons), verdict.reasons


def test_body_part_absent_is_accepted() -> None:
    assert _judge(_series(20, body_part="")).value == "yes"


def test_three_slices_are_refused_with_the_numbers() -> None:
    verdict = _judge(_series(3))
    assert verdict.value == "no"
    assert verdict.reasons == ("no usable volume: 3 slices; at least 12 are needed",)


def test_gaps_are_the_reason_when_there_is_no_grid() -> None:
    instances = _series(20)
    del instances[7]
    verdict = _judge(instances)
    assert verdict.value == "no"
    assert "1 of 20 slices missing" in verdict.reasons[0]


def test_a_no_beats_an_unknown_and_alone_is_told() -> None:
    verdict = _judge(_series(20, image_type=(), body_part="HEAD"))
    assert verdict.value == "no"
    assert verdict.reasons == ("not the lumbar spine: body part HEAD",)


def test_one_odd_instance_decides() -> None:
    instances = _series(20)
    instances[5] = replace(instances[5], image_type=("DERIVED", "SECONDARY"))
    assert _judge(instances).value == "no"


def test_any_needs_one_yes() -> None:
    rule = Rule("r", ("is_mr",), ("is_3d", "is_lumbar"))
    assert _judge(_series(1, acquisition_type="2D"), (rule,)).value == "yes"
    both = _judge(_series(1, acquisition_type="2D", body_part="HEAD"), (rule,))
    assert both.value == "no"
    assert len(both.reasons) == 2
    open_question = _judge(_series(1, acquisition_type="2D", body_part=""), (rule,))
    assert open_question.value == "unknown"


def test_one_rule_is_enough_and_the_first_is_named() -> None:
    more = (*DEFAULT_RULES, Rule("any-mr", ("is_mr",)))
    verdict = _judge(_series(2), more)
    assert (verdict.value, verdict.rule) == ("yes", "any-mr")


def test_no_rules_accept_nothing() -> None:
    assert _judge(_series(20), ()).value == "no"


def test_header_alone_can_only_rule_out() -> None:
    assert could_accept(SPACE, DEFAULT_RULES)
    assert could_accept(replace(SPACE, echo_time_ms=None), DEFAULT_RULES)
    assert not could_accept(replace(SPACE, inversion_time_ms=1800.0), DEFAULT_RULES)
    assert not could_accept(replace(SPACE, image_type=("DERIVED",)), DEFAULT_RULES)


def test_gaps_value_is_passed_on() -> None:
    verdict = judge(
        [SPACE],
        GeometryProblem("two-echoes", "echo times from 20 to 90 ms in one series"),
        DEFAULT_RULES,
    )
    assert verdict.reasons == ("no usable volume: echo times from 20 to 90 ms in one series",)


def test_slices_are_not_told_where_the_header_already_says_no() -> None:
    verdict = _judge(_series(3, body_part="HEAD"))
    assert verdict.reasons == ("not the lumbar spine: body part HEAD",)


def test_every_predicate_has_words_for_no_and_unknown() -> None:
    assert set(judge_module.BEGINNINGS) == set(PREDICATE_NAMES)
    assert all(no and unknown and no != unknown for no, unknown in judge_module.BEGINNINGS.values())
