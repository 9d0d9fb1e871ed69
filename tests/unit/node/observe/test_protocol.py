from __future__ import annotations

from collections.abc import Callable

import pytest

from node.journal.figures import Figures, Judged
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import SeriesEvent
from node.observe.attention import attention
from node.observe.protocol import DAY_S, MIN_SKIPPED, protocol_alarms
from tests.support.clock import Clock

T1 = "not a 3D T2 SPACE acquisition: Scanning Sequence GR is not a pure spin echo"
TE = "not a 3D T2 SPACE acquisition: TE 55 ms is below 60 ms"
LOCALIZER = "a localizer: Image Type ORIGINAL\\PRIMARY\\LOCALIZER"


def _day(day: float, *reasons: str, sender: str = "MR1", station: str = "") -> list[Judged]:
    """Return the verdicts of one day: "" was accepted."""
    return [
        Judged(sender, station, (day + n / 1000) * DAY_S, not reason, reason)
        for n, reason in enumerate(reasons)
    ]


def _weeks(weeks: int, *reasons: str, **names: str) -> list[Judged]:
    """Return the same verdicts on every weekday."""
    days = [7 * w + d for w in range(weeks) for d in range(5)]
    return [v for day in days for v in _day(day, *reasons, **names)]


USUAL = _weeks(4, LOCALIZER, T1, "")  # the last eligible series on day 25, a Friday


def test_changed_protocol_is_seen_after_some_days_with_its_reason() -> None:
    changed = USUAL + [v for day in (28, 29, 30) for v in _day(day, LOCALIZER, T1, TE, TE)]
    monday = [v for v in changed if v.at < 29 * DAY_S]
    assert protocol_alarms(monday, 28.9 * DAY_S) == [], "two series after a week-end say little"
    (alarm,) = protocol_alarms(changed, 30.9 * DAY_S)
    assert (alarm.sender, alarm.skipped, alarm.reason) == ("MR1", 12, TE)
    assert alarm.sentence == f"no eligible series for 6 days, 12 skipped since; now: {TE}"


def test_usual_work_is_no_alarm() -> None:
    for now in (25.5, 27.9, 28.4):
        assert protocol_alarms(USUAL, now * DAY_S) == []


def test_scanner_that_sends_nothing_is_no_alarm() -> None:
    assert protocol_alarms(USUAL, 100 * DAY_S) == []


def test_sender_that_never_sent_an_eligible_series_is_no_alarm() -> None:
    assert protocol_alarms(_weeks(10, LOCALIZER, T1, TE), 70 * DAY_S) == []


def test_only_what_was_skipped_before_alarms_late() -> None:
    without = USUAL + [v for day in range(28, 40) for v in _day(day, LOCALIZER, T1)]
    assert protocol_alarms(without, 33 * DAY_S) == []
    (alarm,) = protocol_alarms(without, 39.9 * DAY_S)
    assert alarm.reason == ""
    assert alarm.sentence.endswith("24 skipped since; only such as were skipped before")


def test_rare_protocol_may_be_silent_for_longer() -> None:
    monthly = [v for month in range(4) for v in _day(30 * month, T1, "")]
    monthly += [v for day in range(91, 130) for v in _day(day, T1)]
    assert protocol_alarms(monthly, 120 * DAY_S) == []
    assert len(protocol_alarms(monthly, 140 * DAY_S)) == 1


def test_scanners_behind_one_pacs_are_told_apart() -> None:
    both = _weeks(6, T1, "", sender="PACS", station="MR-A")
    both += _weeks(3, T1, "", sender="PACS", station="MR-B")
    both += [v for day in range(21, 30) for v in _day(day, TE, sender="PACS", station="MR-B")]
    both.sort(key=lambda v: v.at)
    (alarm,) = protocol_alarms(both, 40 * DAY_S)
    assert alarm.where == "PACS (station MR-B)"


def test_alarm_ends_with_the_next_eligible_series() -> None:
    changed = USUAL + [v for day in (28, 29, 30) for v in _day(day, TE, TE)]
    assert protocol_alarms(changed, 31 * DAY_S)
    assert protocol_alarms(changed + _day(31.1, ""), 31.2 * DAY_S) == []


@pytest.mark.parametrize("number", [MIN_SKIPPED - 1, MIN_SKIPPED])
def test_few_skipped_series_say_nothing(number: int) -> None:
    found = protocol_alarms(USUAL + _day(40, *[TE] * number), 41 * DAY_S)
    assert len(found) == (number == MIN_SKIPPED)


def test_alarm_from_the_journal_is_a_matter_of_status(
    journal: Journal, facts: Callable[..., NewInstance], clock: Clock
) -> None:
    def judge(number: int, reason: str) -> None:
        key = SeriesKey("1.2.1", f"1.3.{number}")
        journal.instances.add(facts(number, series_uid=key.series))
        journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
        event = SeriesEvent.RULES_REJECT if reason else SeriesEvent.RULES_ACCEPT
        detail = {"reason": reason or "rule t2-space", "station": "Room 3"}
        journal.series.advance(key, event, detail=detail)

    for day in range(6):
        judge(day, "")
        clock.pass_s(DAY_S)
    assert not [m for m in attention(journal) if m.kind == "protocol"]
    for number in range(10, 16):
        judge(number, TE)
    clock.pass_s(2 * DAY_S)
    (matter,) = [m for m in attention(journal) if m.kind == "protocol"]
    assert matter.line == (
        "6 × protocol MR1 (station Room 3) not eligible any more: no eligible series for 3 days,"
        f" 6 skipped since; now: {TE}; ask the scanner's operators what was changed, or adapt [[select.rule]]"
    )
    journal.request_retry("1.3.10")
    again = SeriesKey("1.2.1", "1.3.10")
    journal.series.advance(again, SeriesEvent.RULES_ACCEPT, detail={"station": "Room 3"})
    assert not [m for m in attention(journal) if m.kind == "protocol"]
    rows = Figures(journal.database).judged_since(0)
    assert len(rows) == 12, "each series once"
