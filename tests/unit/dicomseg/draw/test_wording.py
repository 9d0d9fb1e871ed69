"""Sentences: exact values, a reason for every refusal, and the same blanks in every language."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from dicomseg.draw.english import ENGLISH
from dicomseg.draw.forks import Fork
from dicomseg.draw.german import GERMAN
from dicomseg.draw.languages import LANGUAGES
from dicomseg.draw.plan import Plan, PsoasPosition, build_plan
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
    seg, own = patient()
    assert own.plane is not None
    plan = replace(build_plan(seg, own, own.plane), **changes)
    return dict(plan_rows(plan, result_of(seg, own), ENGLISH))


def test_the_plan_answers_every_question_of_its_list() -> None:
    words = ENGLISH.plan
    answers = rows(
        forks={"aa": Fork("at", 20.2), "ivc": Fork("at", -1.0)},
        vein_left_mm=7.6,
        gaps_mm={"aa": 2.4, "ivc": 0.2},
        cover=0.567,
        sac_mm2=80.4,
        wedge_deg=8.2,
        psoas={
            "left": PsoasPosition(863.4, 5.1, "IV", False),
            "right": PsoasPosition(836.0, -3.0, "P", True),
        },
    )
    assert answers[words.forks["aa"]] == "20 mm above plane A"
    assert answers[words.forks["ivc"]] == "at plane A"
    assert answers[words.left_vein] == "crosses: 8 mm left of the disc centre"
    assert answers[words.gap] == "artery 2 mm · vein touches"
    assert answers[words.cover] == "57 % of the disc front"
    assert answers[words.sac] == "80 mm² in plane A"
    assert answers[words.wedge] == "8° between the end plates"
    assert answers[words.psoas["left"]] == "5 mm before disc front³, zone IV⁴, 863 mm²"
    assert answers[words.psoas["right"]] == words.psoas_cut
    assert answers[words.height].endswith("(front, mid, back)")
    assert "grade" in answers[words.corridor]


@pytest.mark.parametrize(
    ("fork", "text"),
    [
        (Fork("at", -21.8), "22 mm below plane A"),
        (Fork("above"), "above the part in view"),
        (Fork("below"), "below the part in view"),
        (Fork("unclear"), "unclear: see F"),
    ],
)
def test_a_fork_is_never_placed_where_it_was_not_seen(fork: Fork, text: str) -> None:
    assert rows(forks={"aa": fork})[ENGLISH.plan.forks["aa"]] == text


def test_unexpected_orientation_leaves_only_the_disc() -> None:
    seg, own = patient()
    assert own.plane is not None
    refused = with_refusals(own, list(own.main), "orientation_unexpected")
    plan = build_plan(seg, refused, own.plane)
    names = [name for name, _ in plan_rows(plan, result_of(seg, refused), ENGLISH)]
    words = ENGLISH.plan
    assert names == [words.height, words.wedge, words.sac]


def test_without_a_disc_there_is_nothing_to_answer() -> None:
    seg, own = patient()
    assert own.plane is not None
    refused = with_refusals(own, list(own.main), "missing")
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
