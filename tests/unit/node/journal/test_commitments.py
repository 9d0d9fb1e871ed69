from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.journal import migrate as schema
from node.journal.commitments import KEPT_S, CommitmentState, RequestState
from node.journal.journal import Journal
from node.journal.states import DeliveryEvent, DeliveryState
from tests.support.deliveries import only_delivery, publish_result

PAIRS = (("1.2.840.1", "1.2.3"), ("1.2.840.1", "1.2.4"))


def test_rows_of_version_5_survive_the_migration_and_have_all_patience(
    tmp_path: Path, clock: Any
) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        for number, script in [m for m in schema.migrations() if m[0] <= 5]:
            db.executescript(script)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute(
            "INSERT INTO series (id, study, series, state, first_at, last_at, state_at)"
            " VALUES (1, '1.2.1', '1.2.3', 'encoded', 1, 2, 3)"
        )
        db.execute("INSERT INTO result VALUES ('r1', 1, 'results/r1', 'd', 0, 4, '', '')")
        for number, state in enumerate(("pending", "waiting", "sent", "confirmed", "dead"), 1):
            db.execute(
                "INSERT INTO delivery (id, result_id, destination, state, tries, next_try_at, detail, state_at, accepted)"
                " VALUES (?, 'r1', ?, ?, 19, 50, 'why', 5, '[\"seg.dcm\"]')",
                (number, f"to{number}", state),
            )
            db.execute(
                "INSERT INTO event (at, series_id, delivery_id, event, state, detail) VALUES (5, 1, ?, 'tries_exhausted', ?, '{}')",
                (number, state),
            )
    journal = Journal.open(path, clock)
    rows = journal.deliveries.in_states(*DeliveryState)
    assert [(r.destination, r.state, r.tries, r.detail, r.accepted) for r in rows] == [
        (f"to{n}", state, 19, "why", ("seg.dcm",))
        for n, state in enumerate(
            ("pending", "waiting", "sent", "confirmed", "dead"), 1
        )
    ]  # fmt: skip
    assert {r.waited_s for r in rows} == {0.0}
    assert journal.deliveries.unreachable("to2") == 0
    assert len(journal.series.events(rows[0].series)) == 5
    journal.deliveries.advance(2, DeliveryEvent.DUE)
    journal.commitments.ask("2.25.1", 3, {"1.2.3": "seg.dcm"})
    assert journal.commitments.find("2.25.1") is not None
    journal.close()
    assert schema.backup_path(path, 5).exists()


@pytest.fixture
def asked(journal: Journal, tmp_path: Path) -> Journal:
    """A sent delivery whose commitment was asked for under 2.25.1."""
    publish_result(journal, tmp_path)
    row = only_delivery(journal)
    journal.deliveries.advance(row.id, DeliveryEvent.PEER_ACCEPTED)
    journal.commitments.ask("2.25.1", row.id, {"1.2.3": "seg.dcm"})
    return journal


def test_report_lets_its_delivery_be_judged_at_once(asked: Journal, clock: Any) -> None:
    row = only_delivery(asked)
    asked.deliveries.await_report(row.id, "awaited", clock() + 600)
    assert asked.deliveries.due(clock(), "pacs") == []
    assert asked.commitments.report("2.25.1", ["1.2.3"], {})
    assert [r.id for r in asked.deliveries.due(clock(), "pacs")] == [row.id]
    found = asked.commitments.find("2.25.1")
    assert found is not None
    assert (found.state, found.committed, found.destination) == (CommitmentState.REPORTED, ("1.2.3",), "pacs")  # fmt: skip


def test_only_the_first_report_counts(asked: Journal) -> None:
    assert asked.commitments.report("2.25.1", ["1.2.3"], {})
    assert not asked.commitments.report("2.25.1", [], {"1.2.3": 0x0112})
    assert not asked.commitments.report("2.25.9", [], {})
    found = asked.commitments.find("2.25.1")
    assert found is not None
    assert found.failed == {}


@pytest.mark.parametrize("event", [DeliveryEvent.PROOF_MISSING, DeliveryEvent.SUPERSEDED])
def test_what_was_asked_ends_with_the_move_of_its_delivery(
    asked: Journal, event: DeliveryEvent
) -> None:
    row = only_delivery(asked)
    asked.deliveries.advance(row.id, event)
    assert asked.commitments.of_delivery(row.id) == []
    assert not asked.commitments.report("2.25.1", ["1.2.3"], {})


def test_waiting_for_a_report_is_no_fault(asked: Journal, clock: Any) -> None:
    row = only_delivery(asked)
    asked.deliveries.await_report(row.id, "awaited", clock() + 600)
    row = only_delivery(asked)
    assert (row.fault, row.detail, row.state) == ("", "awaited", DeliveryState.SENT)
    clock.pass_s(600)
    asked.deliveries.await_report(row.id, "awaited", clock() + 1200)
    assert only_delivery(asked).waited_s == pytest.approx(600)


def _request(journal: Journal, uid: str = "2.25.5", ae: str = "MR1", most: int = 2) -> str:
    return journal.commitments.request(uid, ae, "10.1.2.3", PAIRS, report_s=15, most=most)


def test_requests_are_bounded_by_peer_and_the_same_one_is_known(journal: Journal) -> None:
    assert _request(journal) == "added"
    assert _request(journal) == "known"
    assert _request(journal, "2.25.6") == "added"
    assert _request(journal, "2.25.7") == "full"
    assert _request(journal, "2.25.5", "MR2") == "added"
    assert len(journal.commitments.requests(RequestState.ASKED)) == 3


def test_report_is_due_when_its_own_association_had_its_time(journal: Journal, clock: Any) -> None:
    _request(journal)
    (row,) = journal.commitments.requests(RequestState.ASKED)
    assert row.objects == PAIRS
    journal.commitments.checked(row.id, {"1.2.4": 0x0112})
    assert journal.commitments.due_reports(clock()) == []
    clock.pass_s(15)
    (due,) = journal.commitments.due_reports(clock())
    assert due.failed == {"1.2.4": 0x0112}
    journal.commitments.defer_report(due.id, "does not respond", 60)
    assert journal.commitments.due_reports(clock()) == []
    clock.jump_s(-100_000)  # a clock that is set back delays nothing
    assert len(journal.commitments.due_reports(clock())) == 1
    journal.commitments.reported(due.id)
    assert journal.commitments.due_reports(clock()) == []
    (done,) = journal.commitments.requests(RequestState.REPORTED)
    assert (done.objects, done.waited_s, done.tries) == ((), 60.0, 1)


def test_report_goes_out_at_once_when_its_own_association_is_over(
    journal: Journal, clock: Any
) -> None:
    _request(journal)
    journal.commitments.report_now("2.25.5", "MR1")
    (row,) = journal.commitments.requests(RequestState.ASKED)
    journal.commitments.checked(row.id, {})
    assert len(journal.commitments.due_reports(clock())) == 1


# ---- what has ended is removed ---------------------------------------------------------------------


def _asked_of_us(journal: Journal) -> set[str]:
    return {
        r.transaction_uid for state in RequestState for r in journal.commitments.requests(state)
    }


def test_ended_requests_of_others_are_removed_after_their_time(
    journal: Journal, clock: Any
) -> None:
    for uid in ("2.25.1", "2.25.2", "2.25.3"):
        _request(journal, uid, most=9)
    reported, dropped, _ = journal.commitments.requests(RequestState.ASKED)
    journal.commitments.reported(reported.id)
    journal.commitments.drop(dropped.id, "no address")
    clock.pass_s(KEPT_S - 1)
    _request(journal, "2.25.4", most=9)
    assert _asked_of_us(journal) == {"2.25.1", "2.25.2", "2.25.3", "2.25.4"}
    clock.pass_s(2)
    _request(journal, "2.25.5", most=9)
    assert _asked_of_us(journal) == {"2.25.3", "2.25.4", "2.25.5"}, "an open one stays"


def test_many_old_requests_are_removed_in_steps(journal: Journal, clock: Any) -> None:
    for number in range(300):
        _request(journal, f"2.25.{number}", most=999)
    for row in journal.commitments.requests(RequestState.ASKED):
        journal.commitments.reported(row.id)
    clock.pass_s(KEPT_S + 1)
    for number in range(2):
        _request(journal, f"2.25.9.{number}", most=999)
    assert len(_asked_of_us(journal)) == 2


def test_our_own_requests_are_removed_when_they_ended_and_the_proof_stays(
    asked: Journal, clock: Any
) -> None:
    row = only_delivery(asked)
    clock.pass_s(KEPT_S + 1)
    asked.commitments.ask("2.25.2", row.id, {"1.2.3": "seg.dcm"})
    assert asked.commitments.find("2.25.1") is not None, "its delivery waits for proof"
    asked.commitments.report("2.25.2", ["1.2.3"], {})
    asked.deliveries.advance(row.id, DeliveryEvent.PROOF_FOUND, detail={"proof": "committed"})
    clock.pass_s(KEPT_S + 1)
    asked.commitments.ask("2.25.3", row.id, {"1.2.3": "seg.dcm"})
    assert asked.commitments.find("2.25.1") is None
    assert asked.commitments.find("2.25.2") is None
    assert not asked.commitments.report("2.25.2", [], {"1.2.3": 0x0112}), (
        "a repeated report changes nothing"
    )
    assert (only_delivery(asked).state, only_delivery(asked).proof) == (
        DeliveryState.CONFIRMED,
        "committed",
    )
    assert "proof_found" in [e.event for e in asked.series.events(row.series)]
