from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from node.config import FolderDestination
from node.deliver import RESOURCE_TRIES, Deliver, close_unconfigured
from node.destinations import InMemory, Outcome, Proof
from node.events import SeriesEnded
from node.journal import Journal
from node.records import DeliveryRow, InstanceFacts, ResultRow, SeriesKey
from node.states import DeliveryState, SeriesEvent, SeriesState

KEY = SeriesKey("1.2.1", "1.2.3")
TRANSIENT = Outcome("", "transient", "does not answer", "no association")
NO_RESOURCES = Outcome("", "transient", "", "0xA700")
PERMANENT = Outcome("", "permanent", "refused", "0xC000")
CONFIG = FolderDestination(
    name="pacs",
    kind="folder",
    path=Path("unused"),
    objects=("seg.dcm",),
    max_tries=8,
    first_wait_seconds=5.0,
    max_wait_seconds=60.0,
)


@pytest.fixture
def journal(tmp_path: Path, clock: Any) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", clock)
    yield opened
    opened.close()


def _folder(root: Path, result_id: str) -> Path:
    folder = root / "results" / result_id
    folder.mkdir(parents=True)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", f"2.25.{len(result_id)}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = KEY
    ds.save_as(folder / "seg.dcm", enforce_file_format=True)
    return folder


def _publish(
    journal: Journal, root: Path, result_id: str = "r1", names: tuple[str, ...] = ("pacs",)
) -> None:
    facts = InstanceFacts(
        f"1.2.3.{result_id}", "1.2", *KEY, digest=result_id, transfer_syntax_uid="",
        path=root / result_id, bytes=1,
    )  # fmt: skip
    journal.add_instance(facts)
    journal.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.advance(KEY, SeriesEvent.RULES_ACCEPT)
    row = journal.claim("token")
    assert row is not None
    folder = _folder(root, result_id)
    journal.publish(KEY, "token", ResultRow(result_id, folder, "digest"), names)


def _deliver(journal: Journal, clock: Any, destination: Any) -> Deliver:
    return Deliver(journal, CONFIG, destination, clock, lambda: 0.0)


def _only(journal: Journal) -> DeliveryRow:
    (row,) = journal.deliveries_of(KEY)
    return row


def test_accepted_and_proved_is_confirmed_and_the_series_delivered(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")
    assert _deliver(journal, clock, peer).run_once() == 1
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert journal.series(KEY).state is SeriesState.DELIVERED
    assert set(peer.held) == {"r1/seg.dcm"}


def test_confirmed_without_proof_when_none_is_offered(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    _deliver(journal, clock, InMemory("pacs", offers_proof=False)).run_once()
    events = [e.event for e in journal.events_of(KEY)]
    assert "no_proof_offered" in events
    assert journal.series(KEY).state is SeriesState.DELIVERED


def test_waits_double_and_the_third_try_arrives(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs", script=[TRANSIENT, TRANSIENT])
    step = _deliver(journal, clock, peer)
    step.run_once()
    row = _only(journal)
    assert row.state is DeliveryState.WAITING
    assert row.next_try_at == clock() + 5.0
    assert "seg.dcm: no association does not answer" in row.detail
    clock.pass_s(4.9)
    assert step.run_once() == 0
    clock.pass_s(0.1)
    step.run_once()
    assert _only(journal).next_try_at == clock() + 10.0
    clock.pass_s(10)
    step.run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 3


def test_the_wait_survives_a_restart(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _publish(journal, tmp_path)
    _deliver(journal, clock, InMemory("pacs", script=[TRANSIENT])).run_once()
    other = Journal.open(tmp_path / "journal.sqlite", clock)
    peer = InMemory("pacs")
    step = _deliver(other, clock, peer)
    assert step.run_once() == 0
    clock.pass_s(5)
    assert step.run_once() == 1
    assert _only(other).state is DeliveryState.CONFIRMED
    other.close()


@pytest.mark.parametrize(
    ("said", "tries"), [(TRANSIENT, CONFIG.max_tries), (NO_RESOURCES, RESOURCE_TRIES)]
)
def test_tries_are_limited_and_fewer_where_the_peer_has_no_resources(
    journal: Journal, clock: Any, tmp_path: Path, said: Outcome, tries: int
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs", script=[said] * 50)
    step = _deliver(journal, clock, peer)
    for _ in range(50):
        step.run_once()
        clock.pass_s(60)
    row = _only(journal)
    assert row.state is DeliveryState.DEAD
    assert peer.sends == tries
    assert f"given up after {tries} tries" in row.detail
    assert journal.series(KEY).state is SeriesState.ENCODED


def test_permanent_refusal_is_dead_at_once_and_retry_brings_it_back(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    step = _deliver(journal, clock, InMemory("pacs", script=[PERMANENT]))
    step.run_once()
    assert _only(journal).state is DeliveryState.DEAD
    assert "0xC000 refused" in _only(journal).detail
    journal.request_retry(KEY.series)
    step.run_once()
    assert journal.series(KEY).state is SeriesState.DELIVERED


def test_killed_between_sending_and_proving_proves_after_the_restart(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")

    def killed(*_: object) -> Proof:
        raise KeyboardInterrupt

    monkeypatch.setattr(InMemory, "prove", killed)
    with pytest.raises(KeyboardInterrupt):
        _deliver(journal, clock, peer).run_once()
    monkeypatch.undo()
    assert _only(journal).state is DeliveryState.SENT
    _deliver(journal, clock, peer).run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


def test_missing_proof_sends_again(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")
    step = _deliver(journal, clock, peer)
    send = InMemory.send

    class Loses(InMemory):
        def send(self, parcels: Any) -> Any:
            outcomes = send(self, parcels)
            if self.sends == 1:
                self.held.clear()
            return outcomes

    losing = Loses("pacs")
    step.destination = losing
    step.run_once()
    assert _only(journal).state is DeliveryState.WAITING
    clock.pass_s(60)
    step.run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert losing.sends == 2


def test_newer_result_supersedes_what_still_waits(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs", script=[TRANSIENT])
    step = _deliver(journal, clock, peer)
    step.run_once()
    clock.pass_s(1)
    _publish(journal, tmp_path, "r22")
    clock.pass_s(60)
    step.run_once()
    states = {d.result_id: d.state for d in journal.deliveries_of(KEY)}
    assert states == {"r1": DeliveryState.DEAD, "r22": DeliveryState.CONFIRMED}
    assert set(peer.held) == {"r22/seg.dcm"}
    assert journal.series(KEY).state is SeriesState.DELIVERED


def test_a_dead_destination_holds_up_no_other(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _publish(journal, tmp_path, names=("pacs", "archive"))
    dead = _deliver(journal, clock, InMemory("pacs", script=[TRANSIENT] * 9))
    good = Deliver(
        journal,
        CONFIG.model_copy(update={"name": "archive"}),
        InMemory("archive"),
        clock,
        lambda: 0.0,
    )
    dead.run_once()
    good.run_once()
    states = {d.destination: d.state for d in journal.deliveries_of(KEY)}
    assert states == {"pacs": DeliveryState.WAITING, "archive": DeliveryState.CONFIRMED}
    assert journal.series(KEY).state is SeriesState.ENCODED


def test_result_folder_that_is_gone_is_dead_with_a_remedy(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    (tmp_path / "results" / "r1" / "seg.dcm").unlink()
    _deliver(journal, clock, InMemory("pacs")).run_once()
    assert _only(journal).state is DeliveryState.DEAD
    assert "retry the series with --force" in _only(journal).detail


def test_destination_no_longer_configured_is_given_up(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    assert close_unconfigured(journal, ["other"]) == 1
    assert 'destination "pacs" is no longer configured' in _only(journal).detail
    assert _only(journal).state is DeliveryState.DEAD


def test_the_last_confirmation_ends_the_series_once_and_says_how_long_it_took(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path, names=("pacs", "copy"))
    clock.pass_s(7.5)
    heard: list[object] = []
    for name in ("pacs", "copy"):
        config = CONFIG.model_copy(update={"name": name})
        Deliver(journal, config, InMemory(name), clock, lambda: 0.0, told=heard.append).run_once()
    assert heard == [SeriesEnded(KEY.series, "delivered", "", 7.5)]
