from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from node.journal import migrate as schema
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, DeliveryState, SeriesEvent, SeriesState
from tests.support.deliveries import publish_result
from tests.support.mr_series import KEY

Facts = Callable[..., NewInstance]


def test_deliveries_and_their_history_survive_the_migration(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for number, script in [m for m in schema.migrations() if m[0] <= 3]:
            db.executescript(script)
            db.execute(f"PRAGMA user_version = {number}")
        db.executescript("""
            INSERT INTO series (id, study, series, state, instances, first_at, last_at, state_at)
                VALUES (7, '1.2.1', '1.2.3', 'encoded', 1, 1, 2, 3);
            INSERT INTO result (result_id, series_id, folder, model_digest, attempt, created_at)
                VALUES ('r1', 7, 'results/r1', 'm', 0, 3);
            INSERT INTO delivery (id, result_id, destination, state, tries, next_try_at, detail, state_at) VALUES
                (3, 'r1', 'proved', 'confirmed', 1, NULL, 'held', 4),
                (4, 'r1', 'plain', 'confirmed', 1, NULL, 'none', 4),
                (9, 'r1', 'late', 'waiting', 2, 99.5, 'no answer', 5);
            INSERT INTO event (id, at, series_id, delivery_id, event, state, detail) VALUES
                (11, 4, 7, 3, 'proof_found', 'confirmed', '{}'),
                (12, 4, 7, 4, 'no_proof_offered', 'confirmed', '{}'),
                (13, 5, 7, 9, 'transient_failure', 'waiting', '{}');
        """)
    journal = Journal.open(path, clock)
    rows = {d.destination: d for d in journal.deliveries.of_series(KEY)}
    assert {n: (d.id, d.state, d.proof, d.kind) for n, d in rows.items()} == {
        "proved": (3, "confirmed", "stored", "result"),
        "plain": (4, "confirmed", "unproven", "result"),
        "late": (9, "waiting", "", "result"),
    }
    assert (rows["late"].tries, rows["late"].next_try_at) == (2, 99.5)
    assert [(e.id, e.delivery_id) for e in journal.series.events(KEY)] == [
        (11, 3),
        (12, 4),
        (13, 9),
    ]
    assert journal.deliveries.advance(9, DeliveryEvent.DUE) is DeliveryState.PENDING
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _publish(journal: Journal, key: SeriesKey, name: str, folder: Path) -> None:
    for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
        journal.series.advance(key, event)
    assert journal.series.claim("t") is not None
    journal.results.publish(key, "t", ResultRow(name, folder, "m"), ["pacs"])


def _confirm(journal: Journal, key: SeriesKey) -> None:
    row = journal.deliveries.of_series(key)[-1]
    journal.deliveries.record_outcomes(row.id, ["seg.dcm"], {})
    journal.deliveries.advance(row.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(row.id, DeliveryEvent.PROOF_FOUND)


def test_result_of_another_series_is_replaced_when_its_objects_were_corrected_into_this_one(
    journal: Journal, facts: Facts, tmp_path: Path
) -> None:
    journal.instances.add(facts(1))
    _publish(journal, KEY, "old", tmp_path / "old")
    _confirm(journal, KEY)
    moved = SeriesKey("1.2.1", "1.2.9")
    journal.instances.correct(replace(facts(1, "right"), series_uid=moved.series))
    assert journal.series.get(KEY).state is SeriesState.SUPERSEDED
    assert journal.withdrawals.outdated() == {"pacs": ["old"]}
    assert journal.withdrawals.open("other") == []
    assert journal.withdrawals.open("pacs") == [("old", "corrected_identity")]
    assert journal.withdrawals.open("pacs") == []
    assert journal.withdrawals.outdated() == {}
    _publish(journal, moved, "new", tmp_path / "new")
    (old,) = journal.results.of_series(KEY)
    assert (old.superseded_by, old.superseded_because) == ("new", "corrected_identity")
    (new,) = journal.results.of_series(moved)
    assert new.superseded_because == ""


def test_result_of_a_stranger_in_another_series_is_left_alone(
    journal: Journal, facts: Facts, tmp_path: Path
) -> None:
    other = SeriesKey("1.2.1", "1.2.8")
    journal.instances.add(replace(facts(8), series_uid=other.series))
    _publish(journal, other, "other", tmp_path / "other")
    journal.instances.add(facts(1))
    _publish(journal, KEY, "first", tmp_path / "first")
    journal.instances.add(facts(2))
    _publish(journal, KEY, "second", tmp_path / "second")
    first, second = journal.results.of_series(KEY)
    assert (first.superseded_by, first.superseded_because) == ("second", "newer_input")
    assert second.superseded_because == ""
    assert journal.results.of_series(other)[0].superseded_because == ""


def test_a_withdrawal_waits_for_the_later_result_counts_apart_and_keeps_no_series_back(
    journal: Journal, facts: Facts, tmp_path: Path
) -> None:
    journal.instances.add(facts(1))
    _publish(journal, KEY, "first", tmp_path / "first")
    _confirm(journal, KEY)
    journal.instances.add(facts(2))
    _publish(journal, KEY, "second", tmp_path / "second")
    assert journal.withdrawals.open("pacs") == []
    row = next(d for d in journal.deliveries.of_series(KEY) if d.result_id == "second")
    journal.deliveries.advance(row.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(row.id, DeliveryEvent.NO_PROOF_OFFERED)
    assert len(journal.withdrawals.open("pacs")) == 1
    assert journal.series.get(KEY).state is SeriesState.DELIVERED
    counts = journal.counts()
    kinds = ("delivery.confirmed", "delivery.unproven", "withdrawal.pending")
    assert [counts[k] for k in kinds] == [1, 1, 1]


def test_a_correction_takes_back_every_earlier_result_at_once(
    journal: Journal, facts: Facts, tmp_path: Path
) -> None:
    journal.instances.add(facts(1))
    _publish(journal, KEY, "first", tmp_path / "first")
    _confirm(journal, KEY)
    journal.instances.add(facts(2))
    _publish(journal, KEY, "second", tmp_path / "second")
    journal.instances.correct(facts(1, "right"))
    assert [r.superseded_because for r in journal.results.of_series(KEY)] == [
        "corrected_identity"
    ] * 2
    assert len(journal.withdrawals.open("pacs")) == 1


def test_retry_of_a_destination_ends_waits_and_leaves_what_is_done_or_replaced(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    names = ("failed", "waits", "asks", "awaits", "done", "replaced", "other")
    publish_result(journal, tmp_path, names=names)
    rows = {d.destination: d.id for d in journal.deliveries.of_series(KEY)}
    advance = journal.deliveries.advance
    advance(rows["failed"], DeliveryEvent.PERMANENT_FAILURE, detail={"reason": "0xC000"})
    for name in ("waits", "other"):
        advance(rows[name], DeliveryEvent.TRANSIENT_FAILURE, next_try_at=clock() + 900)
    for name in ("asks", "awaits", "done"):
        advance(rows[name], DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.defer(rows["asks"], "no answer", clock() + 900)
    journal.deliveries.await_report(rows["awaits"], "asked", clock() + 900)
    advance(rows["done"], DeliveryEvent.PROOF_FOUND)
    advance(rows["replaced"], DeliveryEvent.SUPERSEDED, detail={"reason": "superseded"})

    def due() -> set[str]:
        return {d.destination for d in journal.deliveries.due(clock())}

    assert due() == set()
    for name in names[:-1]:
        moved = journal.retry_deliveries(name)
        assert bool(moved) is (name in {"failed", "waits", "asks"}), name
    assert due() == {"failed", "waits", "asks"}
    assert journal.retry_deliveries() == [KEY]
    assert due() == {"failed", "waits", "asks", "other"}
