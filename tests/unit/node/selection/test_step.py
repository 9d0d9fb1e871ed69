from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomseg.read import header as headers
from dicomseg.read.reconstructions import judge_series, prefer_reconstructions
from dicomseg.read.rules import DEFAULT_RULES
from node.events import RowFailed
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import SeriesEvent, SeriesState
from node.selection import step as selection
from node.selection.step import SelectStep

CORRECTED = ["ORIGINAL", "PRIMARY", "M", "DIS3D"]
IN_PLANE = ["ORIGINAL", "PRIMARY", "M", "DIS2D"]
SETTLE_S, QUIET_S = 2.0, 30.0


@pytest.fixture
def journal(tmp_path: Path, clock: Callable[[], float]) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", clock)
    yield opened
    opened.close()


def _receive(journal: Journal, paths: list[Path]) -> SeriesKey:
    key = SeriesKey("", "")
    for path in paths:
        one = headers.read_instance(path)
        key = SeriesKey(one.study_uid, one.series_uid)
        facts = NewInstance(
            one.sop_instance_uid,
            one.sop_class_uid,
            one.study_uid,
            one.series_uid,
            one.digest,
            one.transfer_syntax_uid,
            path,
            path.stat().st_size,
        )
        assert journal.instances.add(facts) == "stored"
    return key


def _step(journal: Journal, clock: Callable[[], float]) -> SelectStep:
    return SelectStep(journal, DEFAULT_RULES, SETTLE_S, QUIET_S, clock)


def _complete(journal: Journal, paths: list[Path]) -> SeriesKey:
    key = _receive(journal, paths)
    journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
    return key


def _state(journal: Journal, key: SeriesKey) -> SeriesState:
    return journal.series.get(key).state


def test_corrected_series_is_selected_at_once(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    key = _complete(journal, write_series(tmp_path / "a", ImageType=CORRECTED))
    assert _step(journal, clock).run_once() == 1
    assert _state(journal, key) is SeriesState.SELECTED
    assert journal.series.events(key)[-1].detail["rule"] == "t2-space"


def test_flair_is_skipped_with_its_reason(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    key = _complete(journal, write_series(tmp_path / "a", InversionTime=1800.0))
    heard: list[Any] = []
    SelectStep(journal, DEFAULT_RULES, SETTLE_S, QUIET_S, clock, heard.append).run_once()
    row = journal.series.get(key)
    assert row.state is SeriesState.SKIPPED
    assert "TI 1800 ms (a FLAIR)" in row.reason
    (ended,) = heard
    assert (ended.series, ended.state, ended.reason) == (key.series, "skipped", row.reason)


def test_uncorrected_series_waits_for_the_study_to_settle(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    key = _complete(journal, write_series(tmp_path / "a"))
    step = _step(journal, clock)
    assert step.run_once() == 0
    clock.pass_s(SETTLE_S)
    assert step.run_once() == 1
    assert _state(journal, key) is SeriesState.SELECTED


def test_uncorrected_series_waits_while_another_is_arriving_but_not_for_ever(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    key = _complete(journal, write_series(tmp_path / "a"))
    _receive(journal, write_series(tmp_path / "b", series="1.2.4", slices=3))
    step = _step(journal, clock)
    clock.pass_s(QUIET_S - 1)
    assert step.run_once() == 0
    clock.pass_s(1)
    assert step.run_once() == 1
    assert _state(journal, key) is SeriesState.SELECTED


def test_uncorrected_series_waits_for_no_series_that_cannot_be_its_twin(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    key = _complete(journal, write_series(tmp_path / "a"))
    _receive(journal, write_series(tmp_path / "b", series="1.2.4", slices=3, EchoTime=20.0))
    step = _step(journal, clock)
    assert step.run_once() == 0  # the study is not silent yet
    clock.pass_s(SETTLE_S)
    assert step.run_once() == 1
    assert _state(journal, key) is SeriesState.SELECTED


def test_clock_that_is_set_back_delays_no_uncorrected_series(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    key = _complete(journal, write_series(tmp_path / "a"))
    step = _step(journal, clock)
    assert step.run_once() == 0
    clock.jump_s(-3600)
    clock.pass_s(SETTLE_S)
    assert step.run_once() == 1
    assert _state(journal, key) is SeriesState.SELECTED


@pytest.mark.parametrize("error", [RuntimeError("Doe^Jane"), RecursionError(), ZeroDivisionError()])
def test_series_that_cannot_be_judged_is_put_off_and_no_other(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any, monkeypatch: Any, error: Any
) -> None:
    bad = _complete(journal, write_series(tmp_path / "a", ImageType=CORRECTED))
    good = _complete(journal, write_series(tmp_path / "b", series="1.2.4"))
    judge, broken = selection.judge_series, [True]

    def sometimes(series: str, *rest: Any) -> Any:
        if series == "1.2.3" and broken:
            raise error
        return judge(series, *rest)

    monkeypatch.setattr(selection, "judge_series", sometimes)
    heard: list[Any] = []
    step = SelectStep(journal, DEFAULT_RULES, SETTLE_S, QUIET_S, clock, heard.append)
    step.run_once()
    clock.pass_s(SETTLE_S)
    for _ in range(5):
        step.run_once()
    assert (
        _state(journal, good) is SeriesState.SELECTED
    )  # also as a possible twin it is in no other's way
    row = journal.series.get(bad)
    assert (row.state, row.fault_step) == (SeriesState.COMPLETE, "select")
    assert "Doe" not in row.fault
    assert len([h for h in heard if isinstance(h, RowFailed)]) == 1
    broken.clear()
    clock.pass_s(row.try_at - clock.wall() + 0.1)
    step.run_once()
    assert _state(journal, bad) is SeriesState.SELECTED


def test_of_twins_the_corrected_one_is_chosen_and_named(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    plain = _complete(journal, write_series(tmp_path / "a"))
    better = _complete(
        journal,
        write_series(
            tmp_path / "b",
            series="1.2.4",
            ImageType=CORRECTED,
            SeriesNumber=4,
            SeriesDescription="t2_spc_DIS3D",
        ),
    )
    clock.pass_s(SETTLE_S)
    assert _step(journal, clock).run_once() == 2
    assert _state(journal, better) is SeriesState.SELECTED
    row = journal.series.get(plain)
    assert row.state is SeriesState.SKIPPED
    assert (
        "duplicate reconstruction of series 4 't2_spc_DIS3D'; the 3D distortion-corrected one is used"
        in row.reason
    )


def test_late_slice_between_reading_and_writing_wins(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", slices=15, ImageType=CORRECTED)
    key = _complete(journal, paths[:-1])
    read = headers.read_instance

    def arrives_meanwhile(path: Path) -> Any:
        if path == paths[13] and _state(journal, key) is SeriesState.COMPLETE:
            _receive(journal, paths[-1:])
        return read(path)

    assert replace(_step(journal, clock), read=arrives_meanwhile).run_once() == 0
    assert _state(journal, key) is SeriesState.RECEIVING


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({"ImageType": CORRECTED}, {"1.2.4"}),
        ({"ImageType": IN_PLANE}, {"1.2.4"}),
        ({}, {"1.2.3", "1.2.4"}),
        ({"ImageType": CORRECTED, "EchoTime": 120.0}, {"1.2.3", "1.2.4"}),
        ({"ImageType": CORRECTED, "RepetitionTime": 1500.0}, {"1.2.3", "1.2.4"}),
        ({"ImageType": CORRECTED, "FrameOfReferenceUID": "1.2.8"}, {"1.2.3", "1.2.4"}),
        ({"ImageType": CORRECTED, "PixelSpacing": [1.1, 1.1]}, {"1.2.3", "1.2.4"}),
        ({"ImageType": CORRECTED, "InversionTime": 1800.0}, {"1.2.3"}),
    ],
)
def test_what_makes_twins(
    changes: dict[str, Any], chosen: set[str], tmp_path: Path, write_series: Any
) -> None:
    series = {
        "1.2.3": write_series(tmp_path / "a"),
        "1.2.4": write_series(tmp_path / "b", series="1.2.4", **changes),
    }
    study = [
        judge_series(uid, [headers.read_instance(p) for p in paths], DEFAULT_RULES)
        for uid, paths in series.items()
    ]
    verdicts = prefer_reconstructions(study)
    assert {uid for uid, verdict in verdicts.items() if verdict.value == "yes"} == chosen


def _judged(tmp_path: Path, write_series: Any, series: dict[str, dict[str, Any]]) -> dict[str, Any]:
    study = [
        judge_series(
            uid,
            [headers.read_instance(p) for p in write_series(tmp_path / uid, series=uid, **changes)],
            DEFAULT_RULES,
        )
        for uid, changes in series.items()
    ]
    return dict(prefer_reconstructions(study))


@pytest.mark.parametrize("left_out", ["", "WATER"])
def test_of_a_dixon_one_image_is_chosen_and_named(
    tmp_path: Path, write_series: Any, left_out: str
) -> None:
    kinds = [k for k in ("FAT", "OPP_PHASE", "IN_PHASE", "WATER") if k != left_out]
    series = {
        f"1.2.{n}": {
            "ImageType": ["ORIGINAL", "PRIMARY", "DIXON", kind],
            "SeriesDescription": f"t2_space_dixon_{kind}",
            "SeriesNumber": n,
        }
        for n, kind in enumerate(kinds, 10)
    }
    verdicts = _judged(tmp_path, write_series, series)
    (chosen,) = [uid for uid, verdict in verdicts.items() if verdict.value == "yes"]
    assert series[chosen]["ImageType"][3] == kinds[-1]
    for uid in series.keys() - {chosen}:
        (reason,) = verdicts[uid].reasons
        assert reason.endswith("image, is used")
        assert f"series {series[chosen]['SeriesNumber']} 't2_space_dixon_{kinds[-1]}'" in reason


def test_a_dixon_of_another_acquisition_is_no_rival(tmp_path: Path, write_series: Any) -> None:
    kind = ["ORIGINAL", "PRIMARY", "DIXON"]
    verdicts = _judged(
        tmp_path,
        write_series,
        {
            "1.2.3": {"ImageType": [*kind, "FAT"]},
            "1.2.4": {"ImageType": [*kind, "WATER"], "FrameOfReferenceUID": "1.2.8"},
        },
    )
    assert {uid for uid, verdict in verdicts.items() if verdict.value == "yes"} == {
        "1.2.3",
        "1.2.4",
    }


def test_a_fat_image_waits_for_the_water_image(
    journal: Journal, clock: Any, tmp_path: Path, write_series: Any
) -> None:
    kind = ["ORIGINAL", "PRIMARY", "DIXON"]
    fat = _complete(journal, write_series(tmp_path / "a", ImageType=[*kind, "FAT"]))
    step = _step(journal, clock)
    assert step.run_once() == 0
    water = _complete(
        journal, write_series(tmp_path / "b", series="1.2.4", ImageType=[*kind, "WATER"])
    )
    clock.pass_s(SETTLE_S)
    assert step.run_once() == 2
    assert _state(journal, water) is SeriesState.SELECTED
    assert _state(journal, fat) is SeriesState.SKIPPED


def test_of_several_volumes_in_a_series_the_first_that_a_rule_accepts_is_judged(
    tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "a", EchoTime=20.0)
    second = write_series(tmp_path / "b", EchoTime=120.0)
    given = [
        *(headers.read_instance(p) for p in paths),
        *(
            replace(headers.read_instance(p), sop_instance_uid=f"9.{n}", instance_number=20 + n)
            for n, p in enumerate(second)
        ),
    ]
    stranger = replace(
        given[0], sop_instance_uid="8.8", instance_number=99, image_type=("LOCALIZER",)
    )
    one = judge_series("1.2.3", [stranger, *given], DEFAULT_RULES)
    assert one.verdict.value == "yes"
    assert one.first.echo_time_ms == 120.0
    reasons = "; ".join(one.verdict.reasons)
    assert "set aside: instance 99: a localizer" in reasons
    assert "different echo time (TE 20 ms)" in reasons
