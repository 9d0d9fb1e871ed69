from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from node.config.destinations import FolderDestination
from node.deliver.memory import InMemory
from node.deliver.port import Outcome, StorageCheck
from node.deliver.step import RESOURCE_TRIES, WITHDRAWALS_S, DeliverStep, close_unconfigured
from node.events import SeriesEnded
from node.journal.deliveries import DeliveryTable
from node.journal.journal import Journal
from node.journal.rows import DeliveryRow, NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryState, SeriesEvent, SeriesState
from tests.support.mr_series import KEY
from tests.support.result_folders import list_objects

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


def _folder(root: Path, result_id: str, files: tuple[str, ...] = ("seg.dcm",)) -> Path:
    folder = root / "results" / result_id
    folder.mkdir(parents=True)
    for number, name in enumerate(files):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, f"2.25.{len(result_id)}.{number}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = KEY
        ds.PatientName, ds.PatientID = "Test^Deliver", "T1"
        ds.save_as(folder / name, enforce_file_format=True)
    list_objects(folder)
    return folder


def _facts(root: Path, result_id: str) -> NewInstance:
    return NewInstance(
        f"1.2.3.{result_id}", "1.2", *KEY, digest=result_id, transfer_syntax_uid="",
        path=root / result_id, bytes=1,
    )  # fmt: skip


def _publish(
    journal: Journal,
    root: Path,
    result_id: str = "r1",
    names: tuple[str, ...] = ("pacs",),
    files: tuple[str, ...] = ("seg.dcm",),
) -> None:
    journal.instances.add(_facts(root, result_id))
    _process(journal, root, result_id, names, files)


def _process(
    journal: Journal,
    root: Path,
    result_id: str,
    names: tuple[str, ...] = ("pacs",),
    files: tuple[str, ...] = ("seg.dcm",),
) -> None:
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    row = journal.series.claim("token")
    assert row is not None
    folder = _folder(root, result_id, files)
    journal.results.publish(KEY, "token", ResultRow(result_id, folder, "digest"), names)


def _deliver(journal: Journal, clock: Any, destination: Any, **changes: Any) -> DeliverStep:
    config = CONFIG.model_copy(update=changes)
    return DeliverStep(journal, config, destination, clock, lambda: 0.0, Path("unused"))


def _only(journal: Journal) -> DeliveryRow:
    (row,) = journal.deliveries.of_series(KEY)
    return row


def test_accepted_and_proved_is_confirmed_and_the_series_delivered(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")
    assert _deliver(journal, clock, peer).run_once() == 1
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert journal.series.get(KEY).state is SeriesState.DELIVERED
    assert set(peer.held) == {"r1/seg.dcm"}


def test_confirmed_without_proof_when_none_is_offered(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    _deliver(journal, clock, InMemory("pacs", offers_query=False)).run_once()
    events = [e.event for e in journal.series.events(KEY)]
    assert "no_proof_offered" in events
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


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
    assert "seg.dcm: no association: does not answer" in row.detail
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


@pytest.mark.parametrize("back_s", [3600, 10])
def test_clock_that_is_set_back_delays_nothing(
    journal: Journal, clock: Any, tmp_path: Path, back_s: int
) -> None:
    _publish(journal, tmp_path)
    step = _deliver(journal, clock, InMemory("pacs", script=[TRANSIENT]))
    step.run_once()
    clock.jump_s(-back_s)
    for _ in range(12):
        step.run_once()
        clock.pass_s(1)
    assert _only(journal).state is DeliveryState.CONFIRMED


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
    assert f"failed after {tries} attempts" in row.detail
    assert journal.series.get(KEY).state is SeriesState.ENCODED


def test_permanent_refusal_is_dead_at_once_and_retry_brings_it_back(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    step = _deliver(journal, clock, InMemory("pacs", script=[PERMANENT]))
    step.run_once()
    assert _only(journal).state is DeliveryState.DEAD
    assert "0xC000: refused" in _only(journal).detail
    journal.request_retry(KEY.series)
    step.run_once()
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


def test_killed_between_sending_and_proving_proves_after_the_restart(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")

    def killed(*_: object) -> StorageCheck:
        raise KeyboardInterrupt

    monkeypatch.setattr(InMemory, "verify_stored", killed)
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
        def send(self, files: Any) -> Any:
            outcomes = send(self, files)
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
    states = {d.result_id: d.state for d in journal.deliveries.of_series(KEY)}
    assert states == {"r1": DeliveryState.DEAD, "r22": DeliveryState.CONFIRMED}
    assert set(peer.held) == {"r22/seg.dcm"}
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


def test_a_peer_that_does_not_answer_is_tried_a_bounded_number_of_times(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    for number in range(40):
        key = SeriesKey("1.2.1", f"1.2.5.{number}")
        journal.instances.add(replace(_facts(tmp_path, f"s{number}"), series_uid=key.series))
        for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
            journal.series.advance(key, event)
        journal.series.claim("t")
        result = ResultRow(f"s{number}", _folder(tmp_path, f"s{number}"), "digest")
        journal.results.publish(key, "t", result, ("pacs",))
    peer = InMemory("pacs", script=[TRANSIENT] * 1000)
    step = _deliver(journal, clock, peer, max_tries=100)
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
    _publish(journal, tmp_path, names=("pacs", "archive"))
    dead = _deliver(journal, clock, InMemory("pacs", script=[TRANSIENT] * 9))
    good = DeliverStep(
        journal,
        CONFIG.model_copy(update={"name": "archive"}),
        InMemory("archive"),
        clock,
        lambda: 0.0,
        tmp_path,
    )
    dead.run_once()
    good.run_once()
    states = {d.destination: d.state for d in journal.deliveries.of_series(KEY)}
    assert states == {"pacs": DeliveryState.WAITING, "archive": DeliveryState.CONFIRMED}
    assert journal.series.get(KEY).state is SeriesState.ENCODED


def test_result_folder_that_is_gone_is_dead_with_a_remedy(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    (tmp_path / "results" / "r1" / "seg.dcm").unlink()
    _deliver(journal, clock, InMemory("pacs")).run_once()
    assert _only(journal).state is DeliveryState.DEAD
    assert "retry UID --force" in _only(journal).detail


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
        DeliverStep(
            journal, config, InMemory(name), clock, lambda: 0.0, tmp_path, log=heard.append
        ).run_once()
    assert heard == [SeriesEnded(KEY.series, "delivered", "", 7.5)]


# ---- proof ---------------------------------------------------------------------------------------

NO_ANSWER = StorageCheck("unknown", "QIDO-RS answers HTTP 503")


def test_a_failed_question_is_asked_again_with_back_off_and_nothing_is_sent_again(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs", checks=[NO_ANSWER, NO_ANSWER])
    step = _deliver(journal, clock, peer)
    asked = []
    for _ in range(20):
        step.run_once()
        asked.append(peer.asked)
        if peer.asked == 1:
            row = _only(journal)
            assert row.state is DeliveryState.SENT
            assert "storage is not verified yet: QIDO-RS answers HTTP 503" in row.fault
            assert journal.series.get(KEY).state is SeriesState.ENCODED
        clock.pass_s(1)
    assert (asked[4], asked[5], asked[14], asked[15]) == (1, 2, 2, 3)
    row = _only(journal)
    assert (row.state, row.proof, row.fault) == (DeliveryState.CONFIRMED, "stored", "")
    assert peer.sends == 1


def test_the_question_survives_a_restart(journal: Journal, clock: Any, tmp_path: Path) -> None:
    _publish(journal, tmp_path)
    _deliver(journal, clock, InMemory("pacs", checks=[NO_ANSWER])).run_once()
    peer = InMemory("pacs", offers_query=False)
    step = _deliver(journal, clock, peer)
    assert step.run_once() == 0
    clock.pass_s(5)
    step.run_once()
    assert (_only(journal).state, _only(journal).proof) == (DeliveryState.CONFIRMED, "unproven")
    assert peer.sends == 0


def test_questions_are_limited_and_then_it_is_said_that_the_objects_were_taken(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs", checks=[NO_ANSWER] * 50)
    step = _deliver(journal, clock, peer)
    for _ in range(50):
        step.run_once()
        clock.pass_s(60)
    row = _only(journal)
    assert row.state is DeliveryState.DEAD
    assert "every object was accepted, but 8 queries did not confirm storage" in row.detail
    assert (peer.sends, peer.asked) == (1, 8)
    journal.request_retry(KEY.series)
    peer.checks.clear()
    step.run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 2


def test_only_what_is_missing_is_sent_again(journal: Journal, clock: Any, tmp_path: Path) -> None:
    files = ("seg.dcm", "volumes.dcm")
    _publish(journal, tmp_path, files=files)
    sent: list[list[str]] = []

    class Loses(InMemory):
        def send(self, files: Any) -> Any:
            sent.append([p.name for p in files])
            outcomes = InMemory.send(self, files)
            if len(sent) == 1:
                self.held.pop("r1/volumes.dcm")
            return outcomes

    step = _deliver(journal, clock, Loses("pacs"), objects=files)
    step.run_once()
    assert "not held: volumes.dcm" in _only(journal).detail
    clock.pass_s(60)
    step.run_once()
    assert sent == [["seg.dcm", "volumes.dcm"], ["volumes.dcm"]]
    assert _only(journal).state is DeliveryState.CONFIRMED


# ---- mixed answers -------------------------------------------------------------------------------

FOUR = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


def test_what_may_be_retried_is_retried_and_the_rest_is_recorded_per_object(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path, files=FOUR)
    low = Outcome("seg.dcm", "transient", "no space", "0xA700")
    never = Outcome("volumes.dcm", "permanent", "cannot understand", "0xC000")
    peer = InMemory("pacs", script=[(low, never)])
    step = _deliver(journal, clock, peer, objects=FOUR)
    step.run_once()
    row = _only(journal)
    assert row.state is DeliveryState.WAITING
    assert row.accepted == ("midplane.dcm", "measurements.dcm")
    assert row.refused == {"volumes.dcm": "0xC000: cannot understand"}
    assert "seg.dcm: 0xA700: no space" in row.detail
    clock.pass_s(5)
    step.run_once()
    row = _only(journal)
    assert set(peer.held) == {f"r1/{f}" for f in FOUR if f != "volumes.dcm"}
    assert peer.sends == 2
    assert row.state is DeliveryState.DEAD
    assert "volumes.dcm: 0xC000: cannot understand" in row.detail
    assert "seg.dcm" in row.detail.split("taken: ")[1]
    assert journal.series.get(KEY).state is SeriesState.ENCODED
    journal.request_retry(KEY.series)
    step.run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED


def test_killed_after_an_object_was_taken_it_is_not_sent_again(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DeliveryTable, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        _deliver(journal, clock, peer).run_once()
    monkeypatch.undo()
    _deliver(journal, clock, peer).run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


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
    _publish(journal, tmp_path)
    other = SeriesKey("1.2.1", "1.2.4")
    journal.instances.add(
        NewInstance("1.2.4.1", "1.2", *other, digest="o", transfer_syntax_uid="", path=tmp_path / "o", bytes=1)
    )  # fmt: skip
    for event in (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.RULES_ACCEPT):
        journal.series.advance(other, event)
    journal.series.claim("t")
    journal.results.publish(
        other, "t", ResultRow("r22", _folder(tmp_path, "r22"), "digest"), ("pacs",)
    )
    damage(tmp_path / "results" / "r1" / "seg.dcm")
    peer = InMemory("pacs")
    _deliver(journal, clock, peer).run_once()
    row = _only(journal)
    assert row.state is DeliveryState.DEAD
    assert "r1/" in row.detail
    assert "retry UID --force" in row.detail
    assert journal.deliveries.of_series(other)[0].state is DeliveryState.CONFIRMED
    assert set(peer.held) == {"r22/seg.dcm"}


def test_result_on_a_disk_that_cannot_be_read_waits_and_arrives(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _publish(journal, tmp_path)
    read = Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.name == "seg.dcm":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    step = _deliver(journal, clock, InMemory("pacs"))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fails)
        step.run_once()
    assert _only(journal).state is DeliveryState.PENDING
    assert "r1/seg.dcm: OSError: Input/output error" in _only(journal).fault
    clock.pass_s(5)
    step.run_once()
    assert _only(journal).state is DeliveryState.CONFIRMED


@pytest.mark.parametrize("where", ["send", "verify_stored"])
def test_unexpected_fault_waits_with_back_off_and_is_never_in_the_way_of_others(
    journal: Journal, clock: Any, tmp_path: Path, where: str
) -> None:
    _publish(journal, tmp_path)
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
    step = _deliver(journal, clock, Breaks("pacs"))
    step.log = heard.append
    first = clock()
    for _ in range(400):
        step.run_once()
        clock.pass_s(1)
    assert [round(at - first) for at in calls] == [0, 5, 15, 35, 75, 135, 195, 255]
    row = _only(journal)
    assert row.state is DeliveryState.DEAD
    assert "failed after 8 attempts: ValueError in test_step.py" in row.detail
    told = " ".join([row.detail, *map(str, heard), *(str(e) for e in journal.series.events(KEY))])
    assert "secret" not in told
    assert "Doe" not in told


# ---- results that another replaces ---------------------------------------------------------------


def _run(step: DeliverStep, clock: Any) -> None:
    """A few rounds, with time between them to look for withdrawals."""
    for _ in range(4):
        step.run_once()
        clock.pass_s(WITHDRAWALS_S)


def test_result_that_was_corrected_before_it_was_sent_is_never_sent(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")
    journal.instances.correct(replace(_facts(tmp_path, "r1"), digest="corrected"))
    _deliver(journal, clock, peer, withdraw=True).run_once()
    assert [(d.kind, d.state, d.detail) for d in journal.deliveries.of_series(KEY)] == [
        ("result", DeliveryState.DEAD, "superseded")
    ]
    assert peer.sends == 0


@pytest.mark.parametrize("withdraw", [True, False])
def test_corrected_result_is_withdrawn_at_once_where_the_destination_takes_it(
    journal: Journal, clock: Any, tmp_path: Path, withdraw: bool
) -> None:
    _publish(journal, tmp_path)
    peer = InMemory("pacs")
    step = _deliver(journal, clock, peer, withdraw=withdraw)
    step.notes = tmp_path / "withdrawals"
    step.run_once()
    journal.instances.correct(replace(_facts(tmp_path, "r1"), digest="corrected"))
    _run(step, clock)
    (note,) = [h for h in peer.held if h.endswith("rejection.dcm")] if withdraw else [None]
    withdrawals = [d for d in journal.deliveries.of_series(KEY) if d.kind == "withdrawal"]
    assert [(d.state, d.proof) for d in withdrawals] == (
        [(DeliveryState.CONFIRMED, "unproven")] if withdraw else []
    )
    (old,) = journal.results.of_series(KEY)
    assert (old.superseded_because, old.superseded_by) == ("corrected_identity", "")
    _process(journal, tmp_path, "r22")
    step.run_once()
    old, new = journal.results.of_series(KEY)
    assert (old.superseded_because, old.superseded_by) == ("corrected_identity", "r22")
    assert (new.superseded_because, new.superseded_by) == ("", "")
    assert journal.series.get(KEY).state is SeriesState.DELIVERED
    if note is not None:
        ds = dcmread(BytesIO(peer.held[note]))
        assert ds.ConceptNameCodeSequence[0].CodeValue == "113038"
        assert (ds.PatientID, ds.StudyInstanceUID) == ("T1", KEY.study)
        (item,) = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        assert [i.ReferencedSOPInstanceUID for i in item.ReferencedSOPSequence] == ["2.25.2.0"]


def test_newer_result_withdraws_only_what_the_destination_has_taken(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path, files=FOUR)
    bad = [Outcome(f, "permanent", "refused", "0xC000") for f in FOUR[1:]]
    peer = InMemory("pacs", script=[tuple(bad)])
    step = _deliver(journal, clock, peer, objects=FOUR, withdraw=True)
    step.notes = tmp_path / "withdrawals"
    step.run_once()
    _publish(journal, tmp_path, "r22", files=FOUR)
    step.run_once()
    assert not [h for h in peer.held if h.endswith("rejection.dcm")]
    _run(step, clock)
    assert journal.results.of_series(KEY)[0].superseded_because == "newer_input"
    (note,) = [h for h in peer.held if h.endswith("rejection.dcm")]
    ds = dcmread(BytesIO(peer.held[note]))
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113001"
    (item,) = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in item.ReferencedSOPSequence] == ["2.25.2.0"]
    assert journal.series.get(KEY).state is SeriesState.DELIVERED


def test_result_that_was_replaced_while_it_was_sent_is_withdrawn(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)

    class Slow(InMemory):
        def send(self, files: Any) -> Any:
            if not self.sends:
                _publish(journal, tmp_path, "r22")
            return InMemory.send(self, files)

    peer = Slow("pacs")
    step = _deliver(journal, clock, peer, withdraw=True)
    step.notes = tmp_path / "withdrawals"
    _run(step, clock)
    kinds = {(d.result_id, d.kind): d.state for d in journal.deliveries.of_series(KEY)}
    assert kinds == {
        ("r1", "result"): DeliveryState.DEAD,
        ("r22", "result"): DeliveryState.CONFIRMED,
        ("r1", "withdrawal"): DeliveryState.CONFIRMED,
    }


def test_withdrawal_of_a_damaged_result_is_dead_and_says_so(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    step = _deliver(journal, clock, InMemory("pacs"), withdraw=True)
    step.run_once()
    (tmp_path / "results" / "r1" / "seg.dcm").write_bytes(b"")
    journal.instances.correct(replace(_facts(tmp_path, "r1"), digest="corrected"))
    _run(step, clock)
    (row,) = [d for d in journal.deliveries.of_series(KEY) if d.kind == "withdrawal"]
    assert row.state is DeliveryState.DEAD
    assert "seg.dcm" in row.detail


def test_outcomes_that_cannot_be_read_cost_a_second_sending_not_the_destination(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    _publish(journal, tmp_path)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db, db:
        db.execute("UPDATE delivery SET accepted = 'noise', refused = '[1]'")
    peer = InMemory("pacs")
    assert _deliver(journal, clock, peer).run_once() == 1
    assert _only(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


def test_destination_that_is_away_reads_no_rows_of_its_own_or_of_others(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _publish(journal, tmp_path, names=("pacs", "other"))
    step = _deliver(journal, clock, InMemory("pacs", script=[TRANSIENT]))
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
