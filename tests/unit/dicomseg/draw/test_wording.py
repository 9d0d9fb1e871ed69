"""Sentences: exact values, a reason for every refusal, and the same blanks in every language."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from dicomseg.draw.english import ENGLISH
from dicomseg.draw.german import GERMAN
from dicomseg.draw.languages import LANGUAGES
from dicomseg.draw.plan import Plan, build_plan
from dicomseg.draw.wording import (
    between_text,
    grade_text,
    plan_rows,
    refusal_text,
    value_text,
    warning_texts,
)
from dicomseg.measure.measure import corridor_grade
from dicomseg.result import Measurement, Refusal
from dicomseg.segmentation import Finding
from tests.support.pages import patient, result_of, with_refusals


def measured(**more: Any) -> Measurement:
    return Measurement("OC", "", **{"value_mm": 12.34, "uncertainty_mm": 0.56} | more)


@pytest.mark.parametrize(
    ("m", "text"),
    [
        (measured(), "12.3 ± 0.6 mm"),
        (measured(uncertainty_mm=0.0952), "12.3 ± 0.1 mm"),
        (measured(uncertainty_mm=0.01), "12.3 ± 0.1 mm"),
        (measured(uncertainty_mm=2.4), "12 ± 2 mm"),
        (measured(uncertainty_mm=None), "12.3 mm"),
        (measured(uncertainty_mm=None, range_mm=(11.72, 12.68)), "12.3 (11.7 to 12.7) mm"),
        (measured(uncertainty_mm=None, range_mm=(3.72, 18.7)), "12 (3 to 19) mm"),
        (measured(value_mm=0.0), "0.0 ± 0.6 mm"),
        (measured(value_mm=None, refusal=Refusal("missing", "x")), "not measured"),
    ],
)
def test_a_value_is_no_finer_than_its_uncertainty_which_follows_it(
    m: Measurement, text: str
) -> None:
    assert value_text(m, ENGLISH) == text


@pytest.mark.parametrize(
    ("value", "grade"), [(0.0, 0), (0.1, 1), (10.0, 1), (10.1, 2), (20.0, 2), (20.1, 3)]
)
def test_grades_are_those_of_ng(value: float, grade: int) -> None:
    assert corridor_grade(value) == grade
    text = grade_text(measured(value_mm=value), ENGLISH)
    assert f"grade {grade}" in text
    assert ("no window", "≤ 10", "10–20", "> 20")[grade] in text


def test_a_grade_near_a_limit_is_named_so() -> None:
    assert "near a limit" in grade_text(measured(flags=("grade_borderline",)), ENGLISH)


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (
            Refusal("outside_image", "Psoas major: outside the image"),
            "psoas lies outside the image",
        ),
        (Refusal("missing", "Dural sac: not found"), "dural sac not recognised"),
        (Refusal("cut_by_image", "left psoas major is truncated"), "cut off at the edge"),
        (Refusal("plane_undetermined", "disc plane not determined: x"), "could not be determined"),
        (Refusal("another_code", "Something else."), "Something else."),
        (Refusal("missing", "not a structure"), "not a structure"),
    ],
)
def test_a_refusal_has_a_surgeons_words_or_its_own(refusal: Refusal, text: str) -> None:
    assert text in refusal_text(refusal, ENGLISH)


def test_ends_are_named_in_the_language_of_the_page() -> None:
    m = measured(start="left psoas major", end="left common iliac artery")
    assert between_text(m, ENGLISH) == "left psoas major to left common iliac artery"
    assert between_text(m, GERMAN) == "linker Psoas major bis linke A. iliaca communis"
    assert between_text(measured(start="x", end="x"), ENGLISH) == "x"


def rows(**changes: Any) -> dict[str, str]:
    """Rows of "For the plan" with other further values, by name."""
    seg, own = patient()
    assert own.plane is not None
    values = {k: replace(own.further[k], **v) for k, v in changes.items() if k in own.further}
    lengths = {k: replace(own.extra[k], **v) for k, v in changes.items() if k in own.extra}
    assert len(values) + len(lengths) == len(changes)
    found = replace(own, further=own.further | values, extra=own.extra | lengths)
    plan = build_plan(seg, found, own.plane)
    return dict(plan_rows(plan, result_of(seg, found), ENGLISH))


def given(value: float, uncertainty: float | None = None, **more: Any) -> dict[str, Any]:
    return {"value": value, "uncertainty": uncertainty, "range": None, "refusal": None} | more


def absent(code: str) -> dict[str, Any]:
    return {
        "value": None, "uncertainty": None, "range": None, "category": None,
        "refusal": Refusal(code, "a reason of the program"),
    }  # fmt: skip


def test_the_plan_answers_every_question_of_its_list() -> None:
    words = ENGLISH.plan
    length = {"uncertainty_mm": 0.2, "range_mm": None}
    answers = rows(
        aortic_bifurcation_height=given(20.2, 1.12),
        iliac_confluence_height=given(-1.0, 1.2),
        vein_left_edge=given(7.6, 0.31),
        artery_disc={"value_mm": 2.4} | length,
        vein_disc={"value_mm": 0.2} | length,
        vessel_cover=given(0.567, 0.021),
        dural_sac_area=given(80.4, 1.3),
        disc_angle=given(8.24, 0.6),
        segmental_angle=given(-3.16, 0.6),
        psoas_front_left=given(5.12, 0.34),
        psoas_zone_left=given(0.9, category="IV"),
        psoas_front_right=given(-3.04, 0.3),
        psoas_zone_right=absent("cut_by_image"),
        psoas_area_left=given(863.4, 8.2),
        psoas_area_right=absent("cut_by_image"),
        disc_height_anterior={"value_mm": 8.46, "uncertainty_mm": 0.05},
        disc_height_middle={"value_mm": 9.03, "uncertainty_mm": 0.31},
        disc_height_posterior={"value_mm": 6.7, "uncertainty_mm": 0.2},
    )
    assert answers[words.forks["aa"]] == "20 ± 1 mm above plane A"
    assert answers[words.forks["ivc"]] == "at plane A"
    assert answers[words.left_vein] == "crosses: 7.6 ± 0.3 mm left of the disc centre"
    assert answers[words.gap] == "artery 2.4 ± 0.2 mm · vein touches"
    assert answers[words.cover] == "57 ± 2 % of the disc front"
    assert answers[words.sac] == "80 ± 1 mm² at plane A"
    assert answers[words.disc_angle] == "8.2 ± 0.6° between its end plates"
    assert answers[words.segment] == "-3.2 ± 0.6° from L4 top to L5 base"
    assert answers[words.psoas["left"]] == "5.1 ± 0.3 mm before disc front³, zone IV⁴"
    assert answers[words.psoas["right"]] == "3.0 ± 0.3 mm behind disc front³"
    assert answers[words.psoas_area] == "left 863 ± 8 mm² · right not measured"
    assert answers[words.height] == "8.5 / 9.0 / 6.7 ± 0.3 mm (front, mid, back)"
    assert "grade" in answers[words.corridor]


@pytest.mark.parametrize(
    ("fork", "text"),
    [
        (given(-21.8, 1.4), "22 ± 1 mm below plane A"),
        (given(-21.8, None, range=(-24.2, -19.0)), "22 (19 to 25) mm below plane A"),
        (absent("fork_above_view"), "above the part in view"),
        (absent("fork_below_view"), "below the part in view"),
        (absent("fork_unclear"), "unclear: see F"),
        (absent("another_code"), "a reason of the program"),
    ],
)
def test_a_fork_is_never_placed_where_it_was_not_seen(fork: dict[str, Any], text: str) -> None:
    assert rows(aortic_bifurcation_height=fork)[ENGLISH.plan.forks["aa"]] == text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("cut_by_image", ENGLISH.plan.psoas_cut),
        ("no_section", ENGLISH.plan.psoas_absent),
        ("psoas_sides_unclear", ENGLISH.refusals["psoas_sides_unclear"]),
    ],
)
def test_a_psoas_without_a_place_says_why(code: str, text: str) -> None:
    without = rows(psoas_front_left=absent(code), psoas_zone_left=absent(code))
    assert without[ENGLISH.plan.psoas["left"]] == text


def test_what_was_refused_is_left_out() -> None:
    names = ("vein_left_edge", "vessel_cover", "dural_sac_area", "disc_angle", "segmental_angle")
    answers = rows(
        **{name: absent("missing") for name in names},
        psoas_area_left=absent("missing"),
        psoas_area_right=absent("missing"),
    )
    words = ENGLISH.plan
    left_out = {words.left_vein, words.cover, words.sac, words.disc_angle, words.psoas_area}
    assert left_out.isdisjoint(answers)
    assert words.segment not in answers


def test_without_a_plane_there_is_nothing_to_answer() -> None:
    seg, own = patient()
    assert own.plane is not None
    refused = replace(with_refusals(own, list(own.main), "missing"), plane=None)
    assert plan_rows(Plan(own.plane, {}), result_of(seg, refused), ENGLISH) == []


def warned(*findings: Finding, flags: dict[str, tuple[str, ...]] | None = None) -> list[str]:
    seg, own = patient()
    main = {
        name: replace(m, flags=(flags or {}).get(name, ()), uncertainty_mm=0.1, range_mm=None)
        for name, m in own.main.items()
    }
    return warning_texts(result_of(seg, replace(own, main=main), findings), ENGLISH)


def test_warnings_of_one_kind_are_one_sentence() -> None:
    texts = warned(
        Finding("cut_by_image", "x", "warning", "l4"),
        Finding("cut_by_image", "y", "warning", "pm"),
        Finding("header_cleaned", "PatientName", "warning"),
        Finding("new_code", "Said by the program.", "warning"),
        flags={"DAA": ("at_bifurcation",), "DIVC": ("at_bifurcation",)},
    )
    assert texts == [
        "DAA, DIVC: the vessel divides or joins near plane A; read the range, not the value.",
        "Cut off at the edge of the image: L4, psoas.",
        "Said by the program.",
    ]


def test_an_unsure_position_is_named_as_in_the_plan() -> None:
    seg, own = patient()
    main = {n: replace(m, flags=(), range_mm=None, uncertainty_mm=0.1) for n, m in own.main.items()}
    main["DAA"] = replace(main["DAA"], flags=("outline_unsure",))
    fork = replace(own.further["iliac_confluence_height"], flags=("outline_unsure",))
    found = replace(own, main=main, further=own.further | {fork.name: fork})
    texts = warning_texts(result_of(seg, found), ENGLISH)
    assert texts == ["DAA, Iliac veins join: the outline is uncertain; measure it on the images."]


def test_no_warning_is_an_empty_list() -> None:
    assert warned() == []


def test_a_value_uncertain_by_a_quarter_is_named() -> None:
    seg, own = patient()
    main = {n: replace(m, flags=(), range_mm=None, uncertainty_mm=0.1) for n, m in own.main.items()}
    main["DAA"] = replace(main["DAA"], uncertainty_mm=4.0)
    (text,) = warning_texts(result_of(seg, replace(own, main=main)), ENGLISH)
    assert text.startswith("DAA: uncertain by more than a quarter")


# ---- languages -----------------------------------------------------------------------------------


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a table, by its place."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif hasattr(value, "items"):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, tuple):
        for n, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{n}")
    elif isinstance(value, str):
        yield path, value


def blanks(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_has_every_text_with_the_same_blanks(language: str) -> None:
    expected, found = dict(leaves(ENGLISH)), dict(leaves(LANGUAGES[language]))
    required = {place for place in expected if not place.startswith(".ends.")}
    assert required <= set(found)
    assert {p: blanks(found[p]) for p in required} == {p: blanks(expected[p]) for p in required}
    assert all(text.strip() for text in found.values())
    assert LANGUAGES[language].warnings.left_out == ENGLISH.warnings.left_out
