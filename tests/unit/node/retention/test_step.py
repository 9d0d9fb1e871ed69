"""The step of the service: files leave, rows stay, and what is not delivered with proof is never touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from node.config.retention import RetentionConfig
from node.events import Event, PurgeResumed, QuarantinePurged, RetentionShort, SeriesPurged
from node.journal.journal import Journal
from node.journal.rows import SeriesKey
from node.journal.states import DeliveryEvent, InstanceState, SeriesEvent, SeriesState
from node.observe.doctor import Check, examine
from node.observe.explain import why, why_lines
from node.receive.rebuild import rebuild
from node.receive.recover import adopt
from node.retention import purge, step
from node.retention.plan import DAY_S
from node.retention.purge import Purger, purging
from node.retention.step import LOOK_S, RetentionStep
from tests.support.purging import Kept

S, V = SeriesState, DeliveryEvent
GONE = [InstanceState.PURGED] * 2


class Retention:
    """A step with its log."""

    def __init__(self, kept: Kept, free: int = 10**15, **limits: float) -> None:
        self.events: list[Event] = []
        self.step = RetentionStep(
            kept.journal, RetentionConfig(**limits), kept.state, kept.clock,  # type: ignore[arg-type]
            self.events.append, lambda: free,
        )  # fmt: skip
        self.clock = kept.clock

    def run(self) -> int:
        self.clock.pass_s(LOOK_S)
        return self.step.run_once()


def test_a_delivered_series_leaves_after_its_days_and_its_row_stays(kept: Kept) -> None:
    key = kept.deliver(1)
    retention = Retention(kept, delivered_days=30)
    kept.clock.pass_s(29 * DAY_S)
    assert retention.run() == 0
    assert kept.files() == 2
    kept.clock.pass_s(DAY_S)
    assert retention.run() == 1
    assert (kept.files(), kept.folders()) == (0, [])
    assert kept.states(key) == GONE
    row = kept.journal.series.get(key)
    assert (row.state, row.instances, row.reason) == (
        S.PURGED,
        0,
        "delivered with proof 30 days ago",
    )
    (event,) = retention.events
    assert isinstance(event, SeriesPurged)
    assert (event.series, event.before, event.objects) == (key.series, "delivered", 2)
    assert event.bytes > 2000
    lines = "\n".join(why_lines(why(kept.journal, key.series)[0]))
    assert "purged since" in lines
    assert "files removed" in lines
    assert "send it again to process it again" in lines
    assert examine(kept.journal, Check(kept.state)) == []
    assert adopt(kept.spool, kept.journal).adopted == 0


def test_series_that_are_not_delivered_with_proof_stay(kept: Kept) -> None:
    kept.encode(1)
    kept.deliver(2, V.NO_PROOF_OFFERED)
    kept.receive(3)
    superseded = kept.deliver(4)
    kept.receive(4, (3,))
    kept.encode(4, again=True, attempt=1)  # the former result is still to be taken back
    kept.clock.pass_s(9999 * DAY_S)
    before = kept.files()
    assert (
        Retention(kept, free=0, delivered_days=1, skipped_days=1, keep_gb=1e-6, free_gb=100).run()
        == 0
    )
    assert kept.files() == before
    assert kept.journal.series.get(superseded).state is S.ENCODED


def test_withdrawal_that_is_pending_keeps_a_delivered_series(kept: Kept) -> None:
    key = kept.deliver(1)
    kept.receive(1, (3,))
    kept.deliver(1, again=True, attempt=1)
    kept.journal.withdrawals.open("pacs")
    assert kept.journal.series.get(key).state is S.DELIVERED
    kept.clock.pass_s(99 * DAY_S)
    retention = Retention(kept, delivered_days=1)
    assert retention.run() == 0
    withdrawal = kept.journal.deliveries.of_series(key)[-1]
    assert withdrawal.kind == "withdrawal"
    kept.journal.deliveries.advance(withdrawal.id, V.PEER_ACCEPTED)
    kept.journal.deliveries.advance(withdrawal.id, V.PROOF_FOUND)
    kept.clock.pass_s(2 * DAY_S)
    assert retention.run() == 1
    assert kept.folders() == []


def test_nothing_is_removed_by_default(kept: Kept) -> None:
    kept.deliver(1)
    kept.skip(2)
    kept.quarantine(3)
    kept.clock.pass_s(9999 * DAY_S)
    assert Retention(kept, free=0).run() == 0
    assert kept.files() == 5


def test_space_takes_skipped_series_first_and_says_when_nothing_more_may_leave(kept: Kept) -> None:
    delivered, skipped = kept.deliver(1), kept.skip(2)
    kept.clock.pass_s(DAY_S)
    free = 10_000_000_000 - 1500
    retention = Retention(kept, free, free_gb=10)
    assert retention.run() == 1
    assert kept.states(skipped) == GONE
    assert kept.journal.series.get(delivered).state is S.DELIVERED
    kept.journal.series.get(delivered)
    short = Retention(kept, 0, free_gb=10)
    assert short.run() == 1
    assert kept.files() == 0
    assert isinstance(short.events[-1], RetentionShort)
    assert short.run() == 0
    assert len(short.events) == 2  # once, not every minute


def test_most_gb_counts_objects_and_results(kept: Kept) -> None:
    kept.deliver(1)
    kept.skip(2)
    kept.clock.pass_s(DAY_S)
    assert Retention(kept, keep_gb=4300e-9).run() == 1  # four objects of 1.3 kB, and a result
    assert Retention(kept, keep_gb=1e-2).run() == 0


def test_quarantine_is_bounded_and_one_event_says_what_left(kept: Kept) -> None:
    old = kept.quarantine(1)
    kept.clock.pass_s(10 * DAY_S)
    young = kept.quarantine(2)
    retention = Retention(kept, quarantine_days=5)
    assert retention.run() == 1
    assert not old.exists()
    assert young.exists()
    (event,) = retention.events
    assert isinstance(event, QuarantinePurged)
    assert event.objects == 1
    assert kept.journal.series.get(kept.key(1)).state is S.PURGED
    assert kept.journal.series.get(kept.key(2)).state is S.QUARANTINED
    assert kept.journal.instances.quarantined()[0].path == young


def test_a_file_that_another_row_needs_stays(kept: Kept) -> None:
    """The same bytes under two SOP Instance UIDs of the command are one file of the quarantine."""
    path = kept.quarantine(1)
    row = kept.journal.instances.quarantined()[0]
    kept.clock.pass_s(10 * DAY_S)
    with kept.journal.database.transaction() as tx:
        tx.execute(
            "INSERT INTO instance SELECT '1.9', digest, series_id, sop_class, transfer_syntax, path, bytes, calling_ae,"
            " state, reason, received_at + 800000, superseded_by FROM instance WHERE sop_instance = ?",
            (row.sop_instance_uid,),
        )
    Retention(kept, quarantine_days=5).run()
    assert path.exists()
    assert len(kept.journal.instances.quarantined()) == 1


def test_events_and_their_newest_rows_stay(kept: Kept) -> None:
    kept.deliver(1)
    events = kept.journal.changes.newest()["event"]
    objects = kept.journal.database.query("SELECT max(rowid) FROM instance").fetchone()[0]
    kept.clock.pass_s(99 * DAY_S)
    Retention(kept, delivered_days=1).run()
    count = "SELECT count(*), max(id) FROM event"
    assert tuple(kept.journal.database.query(count).fetchone()) == (events + 1, events + 1)
    assert kept.journal.database.query("SELECT max(rowid) FROM instance").fetchone()[0] == objects


def test_a_series_that_moved_on_is_left_alone(kept: Kept) -> None:
    key = kept.deliver(1)
    seen = kept.purgeable(key)
    kept.receive(1, (3,))
    with pytest.raises(Exception, match="changed meanwhile"):
        Purger(kept.journal).series(seen, "old")
    assert kept.files() == 3


def test_another_purge_is_waited_for(kept: Kept) -> None:
    kept.skip(1)
    kept.clock.pass_s(99 * DAY_S)
    retention = Retention(kept, skipped_days=1)
    with purging(kept.state):
        assert retention.run() == 0
    assert retention.run() == 1


# ---- kills ---------------------------------------------------------------------------------------

STEPS: dict[str, tuple[Any, str]] = {
    "before its record": (Journal, "purges"),
    "before the first file": (purge, "remove_files"),
    "between files and results": (purge, "remove_folder"),
    "before its name is gone": (purge, "move_durably"),
    "within a folder": (purge.shutil, "rmtree"),
    "before its end": (type(None), ""),
}


def _kill_at(where: str, patch: Callable[..., None]) -> None:
    from node.journal.purges import PurgeTable

    owner, name = STEPS[where]
    if where == "before its record":
        owner, name = PurgeTable, "begin"
    elif where == "before its end":
        owner, name = PurgeTable, "end"
    patch(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


@pytest.mark.parametrize("where", STEPS)
def test_a_killed_purge_is_finished_by_the_next_one(
    where: str, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = kept.deliver(1)
    kept.clock.pass_s(99 * DAY_S)
    kept.journal.close()
    child = os.fork()
    if child == 0:
        try:
            _kill_at(where, monkeypatch.setattr)
            Retention(kept, delivered_days=1).run()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    adopt(kept.spool, kept.journal)
    if where == "before its record":
        assert kept.journal.series.get(key).state is S.DELIVERED
        assert (kept.files(), len(kept.folders())) == (2, 1)
    else:
        assert kept.states(key) == [InstanceState.PURGING] * 2
    found = [f.kind for f in examine(kept.journal, Check(kept.state))]
    assert found == ["purge-unfinished"] * (where != "before its record")
    retention = Retention(kept)  # what is left is finished without any limit
    assert retention.run() == int(where != "before its record")
    if where != "before its record":
        assert kept.states(key) == GONE
        assert (kept.files(), kept.folders()) == (0, [])
        assert retention.events == [PurgeResumed(1)]


# ---- what was purged comes again -----------------------------------------------------------------


def _purge(kept: Kept, key: SeriesKey) -> None:
    Purger(kept.journal).series(kept.purgeable(key), "old")


def test_a_purged_series_that_comes_again_is_processed_again_and_sent_once(kept: Kept) -> None:
    key = kept.deliver(1)
    _purge(kept, key)
    kept.receive(1)
    assert kept.journal.series.get(key).state is S.RECEIVING
    assert kept.states(key) == [InstanceState.STORED] * 2
    assert kept.files() == 2
    kept.encode(1, again=True)
    assert kept.journal.series.get(key).state is S.DELIVERED  # its result was delivered before
    (result,) = kept.journal.results.of_series(key)
    assert result.purged_at is None
    assert examine(kept.journal, Check(kept.state)) == []


def test_an_object_that_is_being_purged_is_refused_for_now(kept: Kept) -> None:
    key = kept.deliver(1)
    kept.journal.purges.begin(kept.purgeable(key), "old")
    with pytest.raises(Exception, match="being purged"):
        kept.receive(1)
    Purger(kept.journal).finish()
    kept.receive(1)
    assert kept.files() == 2


def test_a_result_that_was_taken_back_does_not_come_again_under_its_uids(kept: Kept) -> None:
    key = kept.deliver(1)
    kept.receive(1, (3,))
    kept.deliver(1, again=True, attempt=1)
    kept.journal.withdrawals.open("pacs")
    withdrawal = kept.journal.deliveries.of_series(key)[-1]
    kept.journal.deliveries.advance(withdrawal.id, V.PEER_ACCEPTED)
    kept.journal.deliveries.advance(withdrawal.id, V.PROOF_FOUND)
    _purge(kept, key)
    forced = kept.journal.series.get(key).forced
    kept.receive(1)
    assert kept.journal.series.get(key).forced == forced + 1


def test_a_purged_object_that_comes_in_another_series_outdates_the_results_of_the_first(
    kept: Kept,
) -> None:
    key = kept.deliver(1)
    row = kept.journal.instances.of_series(key)[0]
    _purge(kept, key)
    incoming = kept.spool.begin(b"")
    incoming.write(b"corrected")
    stored = kept.spool.put(incoming, row.transfer_syntax_uid)
    moved = kept._facts(kept.key(2), 1, stored)
    kept.journal.instances.add(type(moved)(row.sop_instance_uid, *_rest(moved)))
    (result,) = kept.journal.results.of_series(key)
    assert result.superseded_because == "corrected_identity"
    assert [r.result_id for r in kept.journal.results.corrected_into(kept.key(2))] == [result.result_id]  # fmt: skip


def _rest(new: Any) -> tuple[Any, ...]:
    return tuple(getattr(new, name) for name in type(new).__slots__[1:])


def test_a_purged_series_cannot_be_retried(kept: Kept) -> None:
    key = kept.deliver(1)
    _purge(kept, key)
    with pytest.raises(Exception, match=r"the series is purged; .*send it again"):
        kept.journal.request_retry(key.series)


def test_purges_are_many_at_once_but_bounded(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "MOST_AT_ONCE", 2)
    for number in range(1, 4):
        kept.skip(number)
    kept.clock.pass_s(99 * DAY_S)
    retention = Retention(kept, skipped_days=1)
    assert retention.run() == 2
    assert retention.step.run_once() == 1  # at once, not in a minute
    assert SeriesEvent.PURGED in {e.event for e in kept.journal.series.events(kept.key(3))}


def test_a_journal_that_is_rebuilt_still_knows_what_was_purged(kept: Kept) -> None:
    key = kept.deliver(1)
    _purge(kept, key)
    kept.journal.close()
    rebuilt = rebuild(kept.state, kept.clock)
    assert rebuilt.taken["purged"] == 1
    row = kept.journal.series.get(key)
    assert (row.state, row.instances) == (S.PURGED, 0)
    assert kept.states(key) == GONE
    (result,) = kept.journal.results.of_series(key)
    assert result.purged_at is not None
    assert [d.state for d in kept.journal.deliveries.of_series(key)] == ["confirmed"]
    assert examine(kept.journal, Check(kept.state)) == []
