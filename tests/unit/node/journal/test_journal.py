from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.errors import ClaimLost, IllegalTransition, JournalDamaged, UnknownUid
from node.journal.database import Transaction
from node.journal.instances import CONFLICT
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import (
    DeliveryEvent,
    DeliveryState,
    InstanceState,
    SeriesEvent,
    SeriesState,
)
from tests.support.mr_series import KEY

E, S, V, D = SeriesEvent, SeriesState, DeliveryEvent, DeliveryState
TOKEN = "w1.7.1/1"  # noqa: S105 - names a claim


def _to(journal: Journal, facts: Any, *events: SeriesEvent) -> None:
    journal.instances.add(facts(1))
    for event in events:
        if event is E.CLAIMED:
            assert journal.series.claim(TOKEN) is not None
        else:
            journal.series.advance(KEY, event)


def _result(tmp_path: Path, name: str = "r1", attempt: int = 0) -> ResultRow:
    return ResultRow(name, tmp_path / "results" / name, "m" * 8, attempt)


ON_THE_WAY = (E.GEOMETRY_COMPLETE, E.RULES_ACCEPT, E.CLAIMED)


# ---- objects -------------------------------------------------------------------------------------


def test_first_object_opens_its_series(journal: Journal, facts: Any) -> None:
    assert journal.instances.add(facts(1)) == "stored"
    row = journal.series.get(KEY)
    assert (row.state, row.instances) == (S.RECEIVING, 1)
    (instance,) = journal.instances.of_series(KEY)
    assert (instance.path, instance.calling_ae) == (facts(1).path, "MR1")
    assert [e.event for e in journal.series.events(KEY)] == ["instance_stored"]


def test_same_bytes_again_change_nothing(journal: Journal, facts: Any, clock: Any) -> None:
    _to(journal, facts, *ON_THE_WAY)
    before = journal.series.get(KEY), journal.series.events(KEY)
    clock.pass_s(5)
    assert journal.instances.add(facts(1)) == "same"
    assert (journal.series.get(KEY), journal.series.events(KEY)) == before


def test_other_bytes_under_a_known_uid_are_quarantined_and_leave_the_series_alone(
    journal: Journal, facts: Any
) -> None:
    journal.instances.add(facts(1))
    before = journal.series.get(KEY)
    assert journal.instances.add(facts(1, "other")) == "conflict"
    assert journal.instances.add(facts(1, "other")) == "same"
    assert journal.series.get(KEY) == before
    (kept,) = journal.instances.quarantined()
    assert (kept.digest, kept.state, kept.reason) == (
        "other", InstanceState.QUARANTINED, CONFLICT,
    )  # fmt: skip
    assert journal.instances.stored_digest("1.2.3.1") == ("d1", facts(1).path)


def test_good_bytes_are_stored_after_quarantined_ones(journal: Journal, facts: Any) -> None:
    journal.instances.quarantine(facts(1, "broken"), "cannot be read")
    assert journal.instances.add(facts(1)) == "stored"
    assert journal.series.get(KEY).instances == 1


def test_late_slice_reopens_and_takes_the_claim_away(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.instances.add(facts(2))
    row = journal.series.get(KEY)
    assert (row.state, row.token, row.instances, row.attempts) == (S.RECEIVING, None, 2, 0)
    assert journal.series.heartbeat(KEY, TOKEN) is False
    with pytest.raises(ClaimLost):
        journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs"])
    assert journal.results.of_series(KEY) == []


def test_many_senders_at_once_lose_nothing(journal: Journal, facts: Any) -> None:
    def send(first: int) -> None:
        for number in range(first, first + 10):
            journal.instances.add(facts(number))
        journal.close()

    threads = [threading.Thread(target=send, args=(n,)) for n in (0, 5, 10, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert journal.series.get(KEY).instances == len(journal.instances.of_series(KEY)) == 30


# ---- transitions ---------------------------------------------------------------------------------


def test_event_outside_the_table_is_refused_and_writes_nothing(
    journal: Journal, facts: Any
) -> None:
    _to(journal, facts)
    before = journal.series.get(KEY), journal.series.events(KEY)
    with pytest.raises(IllegalTransition, match="rules_accept does not fit receiving"):
        journal.series.advance(KEY, E.RULES_ACCEPT)
    assert (journal.series.get(KEY), journal.series.events(KEY)) == before


def test_decision_on_fewer_slices_than_there_are_is_refused(journal: Journal, facts: Any) -> None:
    _to(journal, facts)
    journal.instances.add(facts(2))
    with pytest.raises(IllegalTransition):
        journal.series.advance(KEY, E.GEOMETRY_COMPLETE, seen=1)
    assert journal.series.advance(KEY, E.GEOMETRY_COMPLETE, seen=2) is S.COMPLETE


def test_event_row_has_state_reason_and_time(journal: Journal, facts: Any, clock: Any) -> None:
    _to(journal, facts)
    clock.pass_s(30)
    journal.series.advance(KEY, E.WENT_QUIET, detail={"reason": "slice 7 is missing"})
    event = journal.series.events(KEY)[-1]
    assert (event.event, event.state, event.at) == ("went_quiet", "incomplete", clock())
    assert event.detail == {"reason": "slice 7 is missing"}
    assert journal.series.get(KEY).reason == "slice 7 is missing"


def test_unknown_series_is_unknown(journal: Journal) -> None:
    for ask in (
        lambda: journal.series.get(KEY),
        lambda: journal.series.advance(KEY, E.WENT_QUIET),
        lambda: journal.series.find("1.9"),
        lambda: journal.request_retry("1.9"),
    ):
        with pytest.raises(UnknownUid):
            ask()


# ---- claims --------------------------------------------------------------------------------------


def test_one_series_is_claimed_once(journal: Journal, facts: Any) -> None:
    _to(journal, facts, E.GEOMETRY_COMPLETE, E.RULES_ACCEPT)
    row = journal.series.claim(TOKEN)
    assert row is not None
    assert (row.state, row.token, row.attempts) == (S.PROCESSING, TOKEN, 1)
    assert journal.series.claim("w2.7.1/1") is None


def test_lost_claim_cannot_speak(journal: Journal, facts: Any, tmp_path: Path) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.series.advance(KEY, E.CLAIM_LOST, expect=TOKEN)
    assert journal.series.claim("w2.7.1/1") is not None
    for speak in (
        lambda: journal.series.advance(KEY, E.REFUSED, expect=TOKEN),
        lambda: journal.series.advance(KEY, E.CLAIM_LOST, expect=TOKEN),
        lambda: journal.results.publish(KEY, TOKEN, _result(tmp_path), []),
    ):
        with pytest.raises(ClaimLost):
            speak()
    assert journal.series.get(KEY).attempts == 2


def test_new_slice_gives_the_attempts_back(journal: Journal, facts: Any) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.series.advance(KEY, E.CRASHED_OUT, expect=TOKEN)
    journal.instances.add(facts(2))
    assert journal.series.get(KEY).attempts == 0


# ---- results and deliveries ----------------------------------------------------------------------


def test_result_and_its_deliveries_appear_together(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs", "web"])
    assert journal.series.get(KEY).state is S.ENCODED
    assert [(d.destination, d.state) for d in journal.deliveries.of_series(KEY)] == [
        ("pacs", D.PENDING),
        ("web", D.PENDING),
    ]
    (result,) = journal.results.of_series(KEY)
    assert result.folder == tmp_path / "results" / "r1"


def test_series_is_delivered_when_the_last_destination_confirms(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs", "web"])
    first, second = journal.deliveries.of_series(KEY)
    for delivery in (first, second):
        assert journal.series.get(KEY).state is S.ENCODED
        journal.deliveries.advance(delivery.id, V.PEER_ACCEPTED)
        journal.deliveries.advance(delivery.id, V.PROOF_FOUND)
    assert journal.series.get(KEY).state is S.DELIVERED


def test_waiting_delivery_is_due_at_its_time(
    journal: Journal, facts: Any, tmp_path: Path, clock: Any
) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs"])
    (delivery,) = journal.deliveries.due(clock())
    journal.deliveries.advance(delivery.id, V.TRANSIENT_FAILURE, next_try_at=clock() + 60)
    assert journal.deliveries.due(clock() + 59) == []
    (due,) = journal.deliveries.due(clock() + 60)
    assert (due.state, due.tries) == (D.WAITING, 1)
    with pytest.raises(IllegalTransition):
        journal.deliveries.advance(delivery.id, V.PEER_ACCEPTED)


def test_same_result_again_keeps_its_confirmed_deliveries(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs"])
    (delivery,) = journal.deliveries.of_series(KEY)
    journal.deliveries.advance(delivery.id, V.PEER_ACCEPTED)
    journal.deliveries.advance(delivery.id, V.PROOF_FOUND)
    journal.request_retry(KEY.series)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    journal.series.claim("w1.7.1/2")
    journal.results.publish(KEY, "w1.7.1/2", _result(tmp_path), ["pacs"])
    assert journal.series.get(KEY).state is S.DELIVERED
    assert [d.state for d in journal.deliveries.of_series(KEY)] == [D.CONFIRMED]


def test_newer_result_supersedes_for_good(journal: Journal, facts: Any, tmp_path: Path) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs"])
    journal.request_retry(KEY.series, force=True)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    journal.series.claim("w1.7.1/2")
    replaced = journal.results.publish(KEY, "w1.7.1/2", _result(tmp_path, "r2", 1), ["pacs"])
    assert replaced == [("pacs", "r1")]
    old, new = journal.deliveries.of_series(KEY)
    assert (old.state, old.detail, new.state) == (D.DEAD, "superseded", D.PENDING)
    journal.request_retry(KEY.series)
    assert journal.deliveries.of_series(KEY)[0].state is D.DEAD


@pytest.mark.parametrize("uid", [KEY.study, KEY.series, "1.2.3.1", "r1"])
def test_retry_revives_dead_deliveries_without_new_inference(
    journal: Journal, facts: Any, tmp_path: Path, uid: str
) -> None:
    _to(journal, facts, *ON_THE_WAY)
    journal.results.publish(KEY, TOKEN, _result(tmp_path), ["pacs"])
    (delivery,) = journal.deliveries.of_series(KEY)
    journal.deliveries.advance(delivery.id, V.PERMANENT_FAILURE, detail={"reason": "refused"})
    assert journal.request_retry(uid) == [KEY]
    (delivery,) = journal.deliveries.of_series(KEY)
    assert (delivery.state, delivery.tries) == (D.PENDING, 0)
    assert journal.series.get(KEY).state is S.ENCODED


def test_series_on_its_way_cannot_be_retried(journal: Journal, facts: Any) -> None:
    _to(journal, facts, *ON_THE_WAY)
    with pytest.raises(IllegalTransition, match="the series is processing"):
        journal.request_retry(KEY.series)


def test_counts_by_state(journal: Journal, facts: Any) -> None:
    journal.instances.add(facts(1))
    journal.instances.quarantine(facts(2, "x"), "no UID")
    assert journal.counts() == {
        "receiving": 1, "instance.stored": 1, "instance.quarantined": 1,
    }  # fmt: skip


# ---- kills and faults -----------------------------------------------------------------------------


_WRITER = """
import sys, time
from pathlib import Path
from node.journal.journal import Journal
from node.journal.rows import NewInstance
journal = Journal.open(Path(sys.argv[1]), time.time)
for n in range(100000):
    journal.instances.add(NewInstance(f"1.2.3.{n}", "1", "1.2.1", "1.2.3", f"d{n}", "1", Path("x"), 1))
    print(n, flush=True)
"""


@pytest.mark.slow
def test_what_was_said_before_a_kill_is_there_after_it(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "journal.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(20)]
    os.kill(child.pid, signal.SIGKILL)
    said += [int(line) for line in child.stdout]
    child.wait(10)
    child.stdout.close()
    journal = Journal.open(path, clock)
    kept = len(journal.instances.of_series(KEY))
    assert kept in {len(said), len(said) + 1}
    assert journal.series.get(KEY).instances == kept
    journal.close()


@pytest.mark.parametrize("ended_by_sqlite", [False, True], ids=["a fault", "a full disk"])
def test_fault_in_a_transaction_leaves_nothing_and_the_journal_usable(
    journal: Journal, facts: Any, monkeypatch: Any, ended_by_sqlite: bool
) -> None:
    def fault(tx: Transaction, *_: Any) -> None:
        if ended_by_sqlite:
            tx.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "event", fault)
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            journal.instances.add(facts(1))
    assert journal.series.in_states() == []
    assert journal.instances.add(facts(1)) == "stored"


def test_row_in_an_unknown_state_is_one_sentence_with_the_repair(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    journal.instances.add(facts(1))
    journal.instances.add(facts(2, series_uid="1.2.4"))
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db, db:
        db.execute("UPDATE series SET state = 'noise' WHERE series = '1.2.4'")
        db.execute("UPDATE event SET detail = 'noise'")
    assert [e.detail for e in journal.series.events(SeriesKey("1.2.1", "1.2.3"))] == [{}]
    assert [r.key.series for r in journal.series.due(SeriesState.RECEIVING)] == ["1.2.3"]
    with pytest.raises(JournalDamaged, match=r"unknown state 'noise'\).*doctor --rebuild"):
        journal.series.in_states()
    with pytest.raises(JournalDamaged):
        journal.instances.add(facts(3, series_uid="1.2.4"))
    assert journal.instances.add(facts(3)) == "stored"
