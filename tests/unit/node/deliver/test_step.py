from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.deliver.memory import InMemory
from node.deliver.port import Outcome, StorageCheck
from node.deliver.step import DeliverStep
from node.events import SeriesEnded, StepFailed
from node.journal.journal import Journal
from node.journal.rows import DeliveryRow, NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryState, SeriesEvent, SeriesState
from node.store.layout import StateDirectory
from tests.support.deliveries import (
    CONFIG,
    deliver_step,
    facts_of,
    only_delivery,
    publish_result,
    result_folder,
)
from tests.support.mr_series import KEY

TRANSIENT = Outcome("", "transient", "does not answer", "no association")
NO_RESOURCES = Outcome("", "transient", "", "0xA700")
PERMANENT = Outcome("", "permanent", "refused", "0xC000")


def test_accepted_and_proved_is_confirmed_and_the_series_delivered(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs")
    assert deliver_step(journal, clock, peer).run_once() == 1
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert journal.series.get(KEY).state is SeriesState.DELIVERED
    assert set(peer.held) == {"r1/seg.dcm"}


def test_confirmed_without_proof_when_none_is_offered(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    deliver_step(journal, clock, InMemory("pacs", offers_query=False)).run_once()
    events = [e.event for e in journal.series.events(KEY)]
    assert "no_proof_offered" in events
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


def test_waits_double_and_the_third_try_arrives(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[TRANSIENT, TRANSIENT])
    step = deliver_step(journal, clock, peer)
    step.run_once()
    row = only_delivery(journal)
    assert row.state is DeliveryState.WAITING
    assert row.next_try_at == clock() + 5.0
    assert "seg.dcm: no association: does not answer" in row.detail
    clock.pass_s(4.9)
    assert step.run_once() == 0
    clock.pass_s(0.1)
    step.run_once()
    assert only_delivery(journal).next_try_at == clock() + 10.0
    clock.pass_s(10)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 3


def test_the_wait_survives_a_restart(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path)
    deliver_step(journal, clock, InMemory("pacs", script=[TRANSIENT])).run_once()
    other = Journal.open(tmp_path / "journal.sqlite", clock)
    peer = InMemory("pacs")
    step = deliver_step(other, clock, peer)
    assert step.run_once() == 0
    clock.pass_s(5)
    assert step.run_once() == 1
    assert only_delivery(other).state is DeliveryState.CONFIRMED
    other.close()


@pytest.mark.parametrize("back_s", [3600, 10])
def test_clock_that_is_set_back_delays_nothing(
    journal: Journal, clock: Any, tmp_path: Path, back_s: int
) -> None:
    publish_result(journal, tmp_path)
    step = deliver_step(journal, clock, InMemory("pacs", script=[TRANSIENT]))
    step.run_once()
    clock.jump_s(-back_s)
    for _ in range(12):
        step.run_once()
        clock.pass_s(1)
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


@pytest.mark.parametrize("said", [TRANSIENT, NO_RESOURCES])
def test_tries_end_with_the_patience_whatever_the_peer_answers(
    journal: Journal, clock: Any, tmp_path: Path, said: Outcome
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[said] * 50)
    step = deliver_step(journal, clock, peer)
    for _ in range(50):
        step.run_once()
        clock.pass_s(60)
    row = only_delivery(journal)
    assert row.state is DeliveryState.DEAD
    assert row.waited_s >= CONFIG.patience_s > row.waited_s - CONFIG.max_wait_seconds
    assert f"given up after 5 min and {peer.sends} attempts" in row.detail
    assert journal.series.get(KEY).state is SeriesState.ENCODED


def test_permanent_refusal_is_dead_at_once_and_retry_brings_it_back(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    step = deliver_step(journal, clock, InMemory("pacs", script=[PERMANENT]))
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.DEAD
    assert "0xC000: refused" in only_delivery(journal).detail
    journal.request_retry(KEY.series)
    step.run_once()
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


def test_killed_between_sending_and_proving_proves_after_the_restart(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs")

    def killed(*_: object) -> StorageCheck:
        raise KeyboardInterrupt

    monkeypatch.setattr(InMemory, "verify_stored", killed)
    with pytest.raises(KeyboardInterrupt):
        deliver_step(journal, clock, peer).run_once()
    monkeypatch.undo()
    assert only_delivery(journal).state is DeliveryState.SENT
    deliver_step(journal, clock, peer).run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


def test_missing_proof_sends_again(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path)
    send = InMemory.send

    class Loses(InMemory):
        def send(self, files: Any) -> Any:
            outcomes = send(self, files)
            if self.sends == 1:
                self.held.clear()
            return outcomes

    losing = Loses("pacs")
    step = deliver_step(journal, clock, losing)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.WAITING
    clock.pass_s(60)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert losing.sends == 2


def test_newer_result_supersedes_what_still_waits(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", script=[TRANSIENT])
    step = deliver_step(journal, clock, peer)
    step.run_once()
    clock.pass_s(1)
    publish_result(journal, tmp_path, "r22")
    clock.pass_s(60)
    step.run_once()
    states = {d.result_id: d.state for d in journal.deliveries.of_series(KEY)}
    assert states == {"r1": DeliveryState.DEAD, "r22": DeliveryState.CONFIRMED}
    assert set(peer.held) == {"r22/seg.dcm"}
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


def test_a_peer_that_does_not_answer_is_tried_a_bounded_number_of_times(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    for number in range(40):
        key = SeriesKey("1.2.1", f"1.2.5.{number}")
        journal.instances.add(replace(facts_of(tmp_path, f"s{number}"), series_uid=key.series))
        for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
            journal.series.advance(key, event)
        journal.series.claim("t")
        result = ResultRow(f"s{number}", result_folder(tmp_path, f"s{number}"), "digest")
        journal.results.publish(key, "t", result, ("pacs",))
    peer = InMemory("pacs", script=[TRANSIENT] * 1000)
    step = deliver_step(journal, clock, peer, patience_days=1.0)
    per_minute = []
    for _ in range(5):
        before = peer.sends
        for _ in range(120):
            step.run_once()
            clock.pass_s(0.5)
        per_minute.append(peer.sends - before)
    assert max(per_minute) <= 13
    peer.script.clear()
    for _ in range(180):
        step.run_once()
        clock.pass_s(0.5)
    assert {d.state for d in journal.deliveries.in_states(*DeliveryState)} == {
        DeliveryState.CONFIRMED
    }


def test_a_dead_destination_holds_up_no_other(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path, names=("pacs", "archive"))
    dead = deliver_step(journal, clock, InMemory("pacs", script=[TRANSIENT] * 9))
    good = DeliverStep(
        journal,
        CONFIG.model_copy(update={"name": "archive"}),
        InMemory("archive"),
        clock,
        lambda: 0.0,
        StateDirectory(tmp_path),
    )
    dead.run_once()
    good.run_once()
    states = {d.destination: d.state for d in journal.deliveries.of_series(KEY)}
    assert states == {"pacs": DeliveryState.WAITING, "archive": DeliveryState.CONFIRMED}
    assert journal.series.get(KEY).state is SeriesState.ENCODED


def test_result_folder_that_is_gone_is_dead_with_a_remedy(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    (tmp_path / "results" / "r1" / "seg.dcm").unlink()
    deliver_step(journal, clock, InMemory("pacs")).run_once()
    assert only_delivery(journal).state is DeliveryState.DEAD
    assert "retry UID --force" in only_delivery(journal).detail


def test_the_last_confirmation_ends_the_series_once_and_says_how_long_it_took(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path, names=("pacs", "copy"))
    clock.pass_s(7.5)
    heard: list[object] = []
    for name in ("pacs", "copy"):
        config = CONFIG.model_copy(update={"name": name})
        DeliverStep(
            journal,
            config,
            InMemory(name),
            clock,
            lambda: 0.0,
            StateDirectory(tmp_path),
            log=heard.append,
        ).run_once()
    ended = [e for e in heard if isinstance(e, SeriesEnded)]
    assert ended == [SeriesEnded(KEY.series, "delivered", "", 7.5)]


# ---- faults of one file ------------------------------------------------------------------------


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _turned(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _list_cut(file: Path) -> None:
    (file.parent / "result.json").write_text('{"objects": [')


def _list_without(file: Path) -> None:
    (file.parent / "result.json").write_text('{"objects": []}')


def _a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [_emptied, _turned, _list_cut, _list_without, _a_folder])
def test_damaged_result_is_dead_with_the_reason_and_the_next_one_arrives(
    journal: Journal, clock: Any, tmp_path: Path, damage: Any
) -> None:
    publish_result(journal, tmp_path)
    other = SeriesKey("1.2.1", "1.2.4")
    journal.instances.add(
        NewInstance("1.2.4.1", "1.2", *other, digest="o", transfer_syntax_uid="", path=tmp_path / "o", bytes=1)
    )  # fmt: skip
    for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
        journal.series.advance(other, event)
    journal.series.claim("t")
    journal.results.publish(
        other, "t", ResultRow("r22", result_folder(tmp_path, "r22"), "digest"), ("pacs",)
    )
    damage(tmp_path / "results" / "r1" / "seg.dcm")
    peer = InMemory("pacs")
    deliver_step(journal, clock, peer).run_once()
    row = only_delivery(journal)
    assert row.state is DeliveryState.DEAD
    assert "r1/" in row.detail
    assert "retry UID --force" in row.detail
    assert journal.deliveries.of_series(other)[0].state is DeliveryState.CONFIRMED
    assert set(peer.held) == {"r22/seg.dcm"}


def test_result_on_a_disk_that_cannot_be_read_waits_and_arrives(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    publish_result(journal, tmp_path)
    read = Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.name == "seg.dcm":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    step = deliver_step(journal, clock, InMemory("pacs"))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fails)
        step.run_once()
    assert only_delivery(journal).state is DeliveryState.PENDING
    assert "r1/seg.dcm: OSError: Input/output error" in only_delivery(journal).fault
    clock.pass_s(5)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


@pytest.mark.parametrize("where", ["send", "verify_stored"])
def test_unexpected_fault_waits_with_back_off_and_is_never_in_the_way_of_others(
    journal: Journal, clock: Any, tmp_path: Path, where: str
) -> None:
    publish_result(journal, tmp_path)
    calls = []

    class Breaks(InMemory):
        def _break(self, files: Any) -> None:
            if files[0].path.parent.name == "r1":
                calls.append(clock())
                raise ValueError("Bearer secret, Doe^Jane")

        def send(self, files: Any) -> Any:
            if where == "send":
                self._break(files)
            return InMemory.send(self, files)

        def verify_stored(self, files: Any) -> Any:
            if where == "verify_stored":
                self._break(files)
            return InMemory.verify_stored(self, files)

    heard: list[Any] = []
    step = deliver_step(journal, clock, Breaks("pacs"), heard.append)
    first = clock()
    for _ in range(400):
        step.run_once()
        clock.pass_s(1)
    assert [round(at - first) for at in calls] == [0, 5, 15, 35, 75, 135, 195, 255, 315, 375]
    row = only_delivery(journal)
    assert row.state is DeliveryState.DEAD
    assert "given up after 5 min and 10 attempts: ValueError in test_step.py" in row.detail
    assert len([e for e in heard if isinstance(e, StepFailed)]) == 1
    records = " ".join(
        [row.detail, *map(str, heard), *(str(e) for e in journal.series.events(KEY))]
    )
    assert "secret" not in records
    assert "Doe" not in records


def test_outcomes_that_cannot_be_read_cost_a_second_sending_not_the_destination(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db, db:
        db.execute("UPDATE delivery SET accepted = 'noise', refused = '[1]'")
    peer = InMemory("pacs")
    assert deliver_step(journal, clock, peer).run_once() == 1
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


def test_destination_that_is_away_reads_no_rows_of_its_own_or_of_others(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    publish_result(journal, tmp_path, names=("pacs", "other"))
    step = deliver_step(journal, clock, InMemory("pacs", script=[TRANSIENT]))
    rows: list[str] = []
    read = DeliveryRow.from_row

    def counted(row: sqlite3.Row, root: Path) -> DeliveryRow:
        rows.append(row["destination"])
        return read(row, root)

    monkeypatch.setattr(DeliveryRow, "from_row", counted)
    step.run_once()
    assert set(rows) == {"pacs"}
    rows.clear()
    assert step.run_once() == 0
    assert rows == []
