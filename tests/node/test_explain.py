from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.errors import UnknownUid
from node.explain import timeline, why, why_lines
from node.journal import Journal
from node.records import InstanceFacts, ResultRow, SeriesKey
from node.states import DeliveryEvent, SeriesEvent

KEY = SeriesKey("1.2.1", "1.2.3")


@pytest.fixture
def journal(tmp_path: Path, clock: Any) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", clock)
    yield opened
    opened.close()


def _slice(journal: Journal, number: int) -> None:
    uid = f"1.2.3.{number}"
    journal.add_instance(InstanceFacts(uid, "1.2", *KEY, uid, "", Path(uid), 1))


def _to_published(journal: Journal, clock: Any, folder: Path) -> None:
    """Two slices one second apart, then stages of 1, 2, 3 and 4 seconds."""
    _slice(journal, 1)
    clock.pass_s(1)
    _slice(journal, 2)
    clock.pass_s(1)
    journal.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    clock.pass_s(2)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
    clock.pass_s(3)
    assert journal.claim("t/1") is not None
    clock.pass_s(4)
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"timings_s": {"load": 0.5, "segment": 3.0}}))
    journal.publish(KEY, "t/1", ResultRow("r1", folder, "d"), ["a", "b"])


def test_stages_start_at_the_last_slice_and_end_at_the_last_object(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    for delivery, seconds in zip(journal.deliveries_of(KEY), (1, 4), strict=True):
        clock.pass_s(seconds)
        journal.advance_delivery(delivery.id, DeliveryEvent.PEER_ACCEPTED)
        clock.pass_s(1)
        journal.advance_delivery(delivery.id, DeliveryEvent.PROOF_FOUND)
    told = timeline(journal, KEY)
    assert told.receive_s == pytest.approx(1)
    assert told.stages_s == pytest.approx(
        {"complete": 1, "select": 2, "queue": 3, "process": 4, "deliver": 6}
    )
    assert told.inside_s == {"load": 0.5, "segment": 3.0}
    assert told.delivered_s == pytest.approx({"a": 11, "b": 16})
    assert told.total_s == pytest.approx(16)
    assert sum(told.stages_s.values()) == pytest.approx(16)


def test_total_is_absent_until_everything_is_confirmed(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _to_published(journal, clock, tmp_path / "r1")
    journal.advance_delivery(journal.deliveries_of(KEY)[0].id, DeliveryEvent.PEER_ACCEPTED)
    assert timeline(journal, KEY).total_s is None


def test_lost_worker_counts_as_waiting_in_the_queue(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _slice(journal, 1)
    journal.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
    journal.claim("t/1")
    clock.pass_s(10)
    journal.advance(KEY, SeriesEvent.CLAIM_LOST)
    journal.claim("t/2")
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
    first, second = journal.deliveries_of(KEY)
    detail = {"reason": "PACS@127.0.0.1:104 does not answer"}
    journal.advance_delivery(first.id, DeliveryEvent.PERMANENT_FAILURE, detail=detail)
    journal.advance_delivery(
        second.id, DeliveryEvent.TRANSIENT_FAILURE, detail=detail, next_try_at=clock() + 60
    )
    (told,) = why(journal, "1.2.3.2")
    assert told["next"] == "given up for a; `lumbar-node retry UID` sends it again"
    assert [d["state"] for d in told["deliveries"]] == ["dead", "waiting"]
    assert told["deliveries"][1]["next_try"] is not None
    text = "\n".join(why_lines(told))
    assert "→ a dead: PACS@127.0.0.1:104 does not answer" in text
    assert text.count("instance_stored") == 1
    json.dumps(told)


def test_unknown_uid_is_refused(journal: Journal) -> None:
    with pytest.raises(UnknownUid):
        why(journal, "9.9")
