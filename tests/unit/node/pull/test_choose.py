"""What is fetched, by what a source says; and the dates that a rule asks for."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dicomseg.read.rules import DEFAULT_RULES
from node.config.pull import PullRuleConfig
from node.pull.choose import dates_asked, day_due, is_uid, may_hold_mr, wanted_of, why_left
from node.pull.port import AT_ONCE, FoundInstance, FoundSeries, FoundStudy


def _left(rule: PullRuleConfig | None = None, own: tuple[str, ...] = (), **said: str) -> str:
    return why_left(FoundSeries("1.2.3", **said), DEFAULT_RULES, rule, own)


def _rule(**values: Any) -> PullRuleConfig:
    return PullRuleConfig(name="nightly", source="archive", **values)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"modality": "MR"},
        {"modality": "MR", "description": "t2_spc_sag LWS", "body_part": "LSPINE"},
        {"modality": "MR", "body_part": "KNEE", "description": "t2 LWS"},
        {"modality": "MR", "description": "localizer"},
    ],
)
def test_what_may_be_eligible_is_fetched(said: dict[str, str]) -> None:
    assert _left(**said) == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"modality": "CT"}, "modality CT"),
        ({"modality": "SEG"}, "modality SEG"),
        ({"modality": "MR", "body_part": "KNEE"}, "not the lumbar spine"),
    ],
)
def test_what_cannot_be_eligible_is_left(said: dict[str, str], why: str) -> None:
    assert why in _left(**said)


def test_own_results_are_left() -> None:
    assert _left(own=("1.2.3",), modality="MR") == "a result of this node"


def test_a_rule_leaves_only_what_the_source_names_otherwise() -> None:
    rule = _rule(body_parts=("lspine", "SPINE"), descriptions=("LWS", "lumb"))
    assert _left(rule, modality="MR") == ""
    assert _left(rule, modality="MR", description="t2 lws sag") == ""
    assert _left(rule, modality="MR", description="t2 Lumbar", body_part="SPINE") == ""
    assert "descriptions" in _left(rule, modality="MR", description="t2 sag")
    assert "body_parts" in _left(rule, modality="MR", body_part="TSPINE", description="LWS")


def test_a_study_that_names_no_modalities_may_hold_mr() -> None:
    assert may_hold_mr(FoundStudy("1"))
    assert may_hold_mr(FoundStudy("1", ("SR", "MR")))
    assert not may_hold_mr(FoundStudy("1", ("CT",)))


def test_the_series_is_named_only_where_nothing_of_it_is_here() -> None:
    all_ = [FoundInstance(f"1.{n}") for n in range(AT_ONCE + 2)]
    assert wanted_of("1", "2", all_, {i.sop_instance for i in all_}) is None
    complete = wanted_of("1", "2", all_, ())
    assert complete is not None
    assert complete.parts() == (complete,)
    some = wanted_of("1", "2", all_, {"1.0"})
    assert some is not None
    assert [len(p.instances) for p in some.parts()] == [AT_ONCE, 1]
    assert not any(p.complete for p in some.parts())


@pytest.mark.parametrize(
    "text", ["", "1.2.", "1..2", "1.2\\3", "*", "1.2?", "1" * 65, "1.2\n", "١"]
)
def test_what_is_no_uid_is_not_sent(text: str) -> None:
    assert not is_uid(text)


def test_a_run_is_due_at_its_time_and_until_the_next_day() -> None:
    today = date(2026, 3, 10)
    assert day_due(_rule(at="02:30"), today, 2, 29) == date(2026, 3, 9)
    assert day_due(_rule(at="02:30"), today, 2, 30) == today
    assert day_due(_rule(at="02:30"), today, 23, 59) == today


def test_dates_are_the_days_before_and_those_without_a_run() -> None:
    due = date(2026, 3, 10)
    assert dates_asked(_rule(), due, date(2026, 3, 9)) == (date(2026, 3, 9), date(2026, 3, 9))
    assert dates_asked(_rule(days=3), due, date(2026, 3, 9)) == (date(2026, 3, 7), date(2026, 3, 9))
    assert dates_asked(_rule(), due, date(2026, 3, 5)) == (date(2026, 3, 5), date(2026, 3, 9))
    assert dates_asked(_rule(), due, date(2020, 1, 1))[0] == date(2026, 2, 8)
