"""New results are weighed once, with what changed since the patient's study before."""

from __future__ import annotations

from typing import Any

import pytest

from node.observe.weigh import WeighStep
from tests.support.visits import Clinic, content


@pytest.fixture
def step(clinic: Clinic, clock: Any) -> WeighStep:
    return WeighStep(clinic.journal, clock)


def _listed(clinic: Clinic) -> dict[str, list[str]]:
    rows = clinic.journal.reviews.page(None, 99)
    return {r.result_id: [str(d["code"]) for d in r.doubts] for r in rows}


def test_a_change_is_weighed_with_the_later_study_and_once(
    clinic: Clinic, step: WeighStep, clock: Any
) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(14.0))
    clinic.visit(3, "20260401", content(14.1))
    assert step.run_once() == 3
    found = _listed(clinic)
    assert [found[f"r1.2.{n}.1"].count("change") for n in (1, 2, 3)] == [0, 1, 0]
    assert next(iter(found)) == "r1.2.2.1"  # the worst
    clock.pass_s(9)
    assert step.run_once() == 0


def test_an_earlier_study_that_comes_late_counts_for_the_later_one(
    clinic: Clinic, step: WeighStep, clock: Any
) -> None:
    clinic.visit(2, "20260301", content(14.0))
    step.run_once()
    assert "change" not in _listed(clinic)["r1.2.2.1"]
    clinic.visit(1, "20250301", content(10.0))
    clock.pass_s(9)
    assert step.run_once() == 1
    assert "change" in _listed(clinic)["r1.2.2.1"]
    assert "change" not in _listed(clinic)["r1.2.1.1"]


def test_another_patient_changes_nothing(clinic: Clinic, step: WeighStep) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(14.0), PatientBirthDate="19710102")
    step.run_once()
    assert not any("change" in codes for codes in _listed(clinic).values())


def test_a_damaged_result_is_worst_and_stops_no_other(clinic: Clinic, step: WeighStep) -> None:
    clinic.visit(1, "20250301", content(10.0))
    key = clinic.visit(2, "20260301", content(14.0))
    (result,) = clinic.journal.results.of_series(key)
    (result.folder / "result.json").write_text("{")
    assert step.run_once() == 2
    assert next(iter(_listed(clinic).items())) == ("r1.2.2.1", ["unreadable"])
    assert len(_listed(clinic)) == 2


def test_headers_are_read_once(clinic: Clinic, clock: Any) -> None:
    step = WeighStep(clinic.journal, clock)
    clinic.visit(1, "20250301", content(10.0))
    step.run_once()
    clinic.visit(2, "20260301", content(14.0))
    clock.pass_s(9)
    step.run_once()
    assert step.read.cache_info().misses == 2  # type: ignore[attr-defined]
