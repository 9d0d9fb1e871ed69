from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from node.clock import at_text
from node.errors import UnknownUid
from node.journal.instances import CONFLICT, CORRECTED
from node.journal.journal import Journal
from node.journal.overview import SeriesFilter
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent, SeriesState
from node.observe.attention import attention, matter_lines
from node.observe.explain import reason_text, why, why_lines
from node.observe.series_list import list_series
from node.observe.timeline import timeline
from tests.support.mr_series import KEY


def _rows(journal: Journal, state: str | None = None) -> list[dict[str, Any]]:
    wanted = SeriesFilter(SeriesState(state) if state else None)
    return list(list_series(journal, wanted).rows)


@pytest.fixture
def journal(tmp_path: Path, clock: Any) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", clock)
    yield opened
    opened.close()


def _slice(journal: Journal, number: int) -> None:
    uid = f"1.2.3.{number}"
    journal.instances.add(NewInstance(uid, "1.2", *KEY, uid, "", Path(uid), 1))


def _to_published(journal: Journal, clock: Any, folder: Path) -> None:
    """Two slices one second apart, then stages of 1, 2, 3 and 4 seconds."""
    _slice(journal, 1)
    clock.pass_s(1)
    _slice(journal, 2)
    clock.pass_s(1)
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    clock.pass_s(2)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    clock.pass_s(3)
    assert journal.series.claim("t/1") is not None
    clock.pass_s(4)
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"timings_s": {"load": 0.5, "segment": 3.0}}))
    journal.results.publish(KEY, "t/1", ResultRow("r1", folder, "d"), ["a", "b"])


def test_stages_start_at_the_last_slice_and_end_at_the_last_object(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    for delivery, seconds in zip(journal.deliveries.of_series(KEY), (1, 4), strict=True):
        clock.pass_s(seconds)
        journal.deliveries.advance(delivery.id, DeliveryEvent.PEER_ACCEPTED)
        clock.pass_s(1)
        journal.deliveries.advance(delivery.id, DeliveryEvent.PROOF_FOUND)
    times = timeline(journal, KEY)
    assert times.receive_s == pytest.approx(1)
    assert times.stages_s == pytest.approx(
        {"complete": 1, "select": 2, "queue": 3, "process": 4, "deliver": 6}
    )
    assert times.inside_s == {"load": 0.5, "segment": 3.0}
    assert times.delivered_s == pytest.approx({"a": 11, "b": 16})
    assert times.total_s == pytest.approx(16)
    assert sum(times.stages_s.values()) == pytest.approx(16)


def test_clock_that_was_set_back_hides_no_stage_and_shows_no_negative_duration(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _slice(journal, 1)
    clock.jump_s(-1800)
    _slice(journal, 2)
    clock.jump_s(-3600)
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    clock.pass_s(2)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    assert journal.series.claim("t/1") is not None
    journal.results.publish(KEY, "t/1", ResultRow("r1", tmp_path, "d"), ["a"])
    (delivery,) = journal.deliveries.of_series(KEY)
    journal.deliveries.advance(delivery.id, DeliveryEvent.PEER_ACCEPTED)
    times = timeline(journal, KEY)
    assert times.receive_s == 0
    assert set(times.stages_s) == {"complete", "select", "queue", "process", "deliver"}
    assert min([*times.stages_s.values(), *times.delivered_s.values()]) >= 0


def test_total_is_absent_until_everything_is_confirmed(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    journal.deliveries.advance(journal.deliveries.of_series(KEY)[0].id, DeliveryEvent.PEER_ACCEPTED)
    assert timeline(journal, KEY).total_s is None


def test_lost_worker_counts_as_waiting_in_the_queue(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _slice(journal, 1)
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.series.claim("t/1")
    clock.pass_s(10)
    journal.series.advance(KEY, SeriesEvent.CLAIM_LOST)
    journal.series.claim("t/2")
    assert timeline(journal, KEY).stages_s == pytest.approx(
        {"complete": 0, "select": 0, "queue": 10}
    )


def test_late_slice_starts_the_clock_anew(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    clock.pass_s(100)
    _slice(journal, 3)
    assert timeline(journal, KEY).stages_s == {}


def test_why_names_reason_delivery_and_what_comes_next(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    first, second = journal.deliveries.of_series(KEY)
    detail = {"reason": "PACS@127.0.0.1:104 does not answer"}
    journal.deliveries.advance(first.id, DeliveryEvent.PERMANENT_FAILURE, detail=detail)
    journal.deliveries.advance(
        second.id, DeliveryEvent.TRANSIENT_FAILURE, detail=detail, next_try_at=clock() + 60
    )
    (explanation,) = why(journal, "1.2.3.2")
    assert (
        explanation["next"]
        == "delivery to a failed permanently; `lumbar-node retry UID` sends it again"
    )
    assert [d["state"] for d in explanation["deliveries"]] == ["dead", "waiting"]
    assert explanation["deliveries"][1]["next_try"] is not None
    text = "\n".join(why_lines(explanation))
    assert "→ a failed: PACS@127.0.0.1:104 does not answer" in text
    assert text.count("instance_stored") == 1
    json.dumps(explanation)


def test_unknown_uid_is_refused(journal: Journal) -> None:
    with pytest.raises(UnknownUid):
        why(journal, "9.9")


# ---- what cannot be used, and what a fault put off -----------------------------------------------


def _facts(number: int, series: SeriesKey = KEY, digest: str = "") -> NewInstance:
    uid = f"1.2.3.{number}"
    return NewInstance(uid, "1.2", *series, digest or uid, "", Path(digest or uid), 1)


def test_corrected_series_says_so_everywhere(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    for number in (1, 2):
        clock.pass_s(1)
        assert journal.instances.correct(_facts(number, digest=f"new{number}")) == "corrected"
    (row,) = _rows(journal)
    assert (row["state"], row["instances"]) == ("receiving", 2)
    assert reason_text(row) == f"2 superseded: {CORRECTED}"
    assert _rows(journal, "superseded") == [row]
    (explanation,) = why(journal, "1.2.3.1")
    assert [(o["digest"], o["state"], o["superseded_by"]) for o in explanation["objects"]] == [
        ("1.2.3.1", "superseded", "new1"), ("new1", "stored", ""),
    ]  # fmt: skip
    assert explanation["history"][-1]["objects"] == 2
    assert explanation["history"][-1]["detail"]["now"] == "new1"
    assert [r["superseded_because"] for r in explanation["results"]] == ["corrected_identity"]
    text = "\n".join(why_lines(explanation))
    assert f"  2 superseded: {CORRECTED}" in text
    assert "  object 1.2.3.1 new1 stored" in text
    assert "result r1, superseded (corrected identity) in" in text
    assert "instance_corrected × 2" in text


def test_quarantined_series_is_listed_and_explained(journal: Journal) -> None:
    long = SeriesKey("1." + "2" * 64, "1.2.7")
    for number in range(64):
        journal.instances.quarantine(
            _facts(number, long), "the data set has no valid StudyInstanceUID"
        )
    (row,) = _rows(journal, "quarantined")
    assert (row["series"], row["state"], row["instances"]) == ("1.2.7", "quarantined", 0)
    assert reason_text(row) == "64 quarantined: the data set has no valid StudyInstanceUID"
    for uid in (long.study, long.series, "1.2.3.63"):
        (explanation,) = why(journal, uid)
        assert explanation["unused"][0]["objects"] == 64
        assert "64 quarantined: the data set has no valid" in "\n".join(why_lines(explanation))
        assert len(explanation["history"]) == 1
    (matter,) = attention(journal)
    assert (matter.kind, matter.count, matter.subject) == ("quarantined", 64, "series 1.2.7")
    assert "correct and resend it" in explanation["next"]


def test_second_series_with_known_objects_is_listed_beside_the_first(journal: Journal) -> None:
    other = SeriesKey("1.2.1", "1.2.8")
    for number in range(3):
        journal.instances.add(_facts(number))
        journal.instances.add(_facts(number, other, f"other{number}"))
    rows = {r["series"]: reason_text(r) for r in _rows(journal)}
    assert rows == {"1.2.3": "", "1.2.8": f"3 quarantined: {CONFLICT}"}
    assert [r["series"] for r in _rows(journal, "quarantined")] == ["1.2.8"]
    assert [w["series"] for w in why(journal, "1.2.3.1")] == ["1.2.3", "1.2.8"]


def test_objects_set_aside_for_one_fault_are_one_line(journal: Journal) -> None:
    for number in range(4):
        journal.instances.add(_facts(number))
    for number in range(3):
        reason = f"1.2.3.{number}: not a complete DICOM object (error); send it again"
        journal.instances.set_aside(f"1.2.3.{number}", f"1.2.3.{number}", reason)
    (row,) = _rows(journal)
    assert row["unused"] == [
        {
            "state": "quarantined",
            "reason": "not a complete DICOM object (error); send it again",
            "objects": 3,
        }
    ]
    assert [m.count for m in attention(journal)] == [3]


def test_fault_is_shown_with_its_next_try(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    first, _ = journal.deliveries.of_series(KEY)
    journal.series.defer(KEY, "work", "OSError: no space left on device", clock() + 60)
    journal.deliveries.defer(first.id, "InvalidDicomError in parcels_in", clock() + 60)
    (row,) = _rows(journal)
    assert reason_text(row).startswith(
        "work failed (1): OSError: no space left on device, next try "
    )
    (explanation,) = why(journal, KEY.series)
    text = "\n".join(why_lines(explanation))
    assert "  work failed (1): OSError" in text
    assert "→ a pending, next try " in text
    assert ": InvalidDicomError in parcels_in" in text
    matters = {(m.kind, m.subject): m for m in attention(journal)}
    assert matters["fault", "work"].next_try == at_text(clock() + 60)
    assert matters["delivery", "a"].uids == ("r1",)
    json.dumps([asdict(m) for m in matters.values()])


def test_retry_ends_the_wait_after_a_fault(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    first, _ = journal.deliveries.of_series(KEY)
    journal.deliveries.defer(first.id, "a fault", clock() + 60)
    assert first.id not in [d.id for d in journal.deliveries.due(clock())]
    assert journal.request_retry(KEY.series) == [KEY]
    assert journal.series.get(KEY).state == "encoded"
    assert first.id in [d.id for d in journal.deliveries.due(clock())]


def test_many_deliveries_for_one_reason_are_one_matter(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    for number in range(30):
        key = SeriesKey("1.2.1", f"1.2.5.{number}")
        journal.instances.add(_facts(number, key))
        journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
        journal.series.advance(key, SeriesEvent.RULES_ACCEPT)
        journal.series.claim(f"t/{number}")
        journal.results.publish(
            key, f"t/{number}", ResultRow(f"r{number}", tmp_path, "d"), ["pacs"]
        )
        (delivery,) = journal.deliveries.of_series(key)
        journal.deliveries.advance(
            delivery.id, DeliveryEvent.TRANSIENT_FAILURE, detail={"reason": "no answer"},
            next_try_at=clock() + 60 - number,
        )  # fmt: skip
    (matter,) = attention(journal)
    assert (matter.count, matter.uids) == (30, ("r0", "r1", "r2", "r3", "r4"))
    assert matter.next_try == at_text(clock() + 31)
    (line,) = matter_lines([matter])
    assert line.startswith("30 × delivery pacs waiting (r0, …), next try ")
    assert line.endswith(": no answer")
    assert len(matter_lines([matter] * 100)) == 41
