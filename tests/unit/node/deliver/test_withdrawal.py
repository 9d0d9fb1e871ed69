"""Results that another one replaces: never sent, or withdrawn."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.deliver.memory import InMemory
from node.deliver.port import Outcome
from node.deliver.step import WITHDRAWALS_S, DeliverStep
from node.events import Event, WithdrawalCreated
from node.journal.journal import Journal
from node.journal.states import DeliveryState, SeriesState
from node.store.layout import StateDirectory
from tests.support.deliveries import (
    FOUR,
    begin_work,
    deliver_step,
    facts_of,
    publish_result,
)
from tests.support.mr_series import KEY
from tests.support.sent_results import write_small_result

# ---- results that another replaces ---------------------------------------------------------------


def _run(step: DeliverStep, clock: Any) -> None:
    """A few rounds, with time between them to look for withdrawals."""
    for _ in range(4):
        step.run_once()
        clock.pass_s(WITHDRAWALS_S)


def test_result_that_was_corrected_before_it_was_sent_is_never_sent(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs")
    journal.instances.correct(replace(facts_of(tmp_path, "r1"), digest="corrected"))
    deliver_step(journal, clock, peer, withdraw=True).run_once()
    assert [(d.kind, d.state, d.detail) for d in journal.deliveries.of_series(KEY)] == [
        ("result", DeliveryState.DEAD, "superseded")
    ]
    assert peer.sends == 0


@pytest.mark.parametrize("withdraw", [True, False])
def test_corrected_result_is_withdrawn_at_once_where_the_destination_takes_it(
    journal: Journal, clock: Any, tmp_path: Path, withdraw: bool
) -> None:
    publish_result(journal, tmp_path)
    peer, heard = InMemory("pacs"), list[Event]()
    step = deliver_step(journal, clock, peer, heard.append, withdraw=withdraw)
    step.state = StateDirectory(tmp_path)
    step.run_once()
    journal.instances.correct(replace(facts_of(tmp_path, "r1"), digest="corrected"))
    _run(step, clock)
    created = [e for e in heard if isinstance(e, WithdrawalCreated)]
    assert created == [WithdrawalCreated("pacs", "r1", "corrected_identity")] * withdraw
    assert step.changes.counts["created"] == len(created)
    (note,) = [h for h in peer.held if h.endswith("rejection.dcm")] if withdraw else [None]
    withdrawals = [d for d in journal.deliveries.of_series(KEY) if d.kind == "withdrawal"]
    assert [(d.state, d.proof) for d in withdrawals] == (
        [(DeliveryState.CONFIRMED, "unproven")] if withdraw else []
    )
    (old,) = journal.results.of_series(KEY)
    assert (old.superseded_because, old.superseded_by) == ("corrected_identity", "")
    begin_work(journal, tmp_path, "r22")
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


def test_result_whose_files_were_purged_is_to_be_rejected_manually(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    step = deliver_step(journal, clock, InMemory("pacs"), withdraw=True)
    step.state = StateDirectory(tmp_path)
    step.run_once()
    shutil.rmtree(tmp_path / "results" / "r1")
    journal.instances.correct(replace(facts_of(tmp_path, "r1"), digest="corrected"))
    _run(step, clock)
    (withdrawal,) = [d for d in journal.deliveries.of_series(KEY) if d.kind == "withdrawal"]
    assert withdrawal.state is DeliveryState.DEAD
    assert withdrawal.detail.endswith("reject or delete its objects at pacs manually")


def test_newer_result_withdraws_only_what_the_destination_has_taken(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path, files=FOUR)
    bad = [Outcome(f, "permanent", "refused", "0xC000") for f in FOUR[1:]]
    peer = InMemory("pacs", script=[tuple(bad)])
    step = deliver_step(journal, clock, peer, objects=FOUR, withdraw=True)
    step.state = StateDirectory(tmp_path)
    step.run_once()
    publish_result(journal, tmp_path, "r22", files=FOUR)
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
    publish_result(journal, tmp_path)

    class Slow(InMemory):
        def send(self, files: Any) -> Any:
            if not self.sends:
                publish_result(journal, tmp_path, "r22")
            return InMemory.send(self, files)

    peer = Slow("pacs")
    step = deliver_step(journal, clock, peer, withdraw=True)
    step.state = StateDirectory(tmp_path)
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
    publish_result(journal, tmp_path)
    step = deliver_step(journal, clock, InMemory("pacs"), withdraw=True)
    step.run_once()
    (tmp_path / "results" / "r1" / "seg.dcm").write_bytes(b"")
    journal.instances.correct(replace(facts_of(tmp_path, "r1"), digest="corrected"))
    _run(step, clock)
    (row,) = [d for d in journal.deliveries.of_series(KEY) if d.kind == "withdrawal"]
    assert row.state is DeliveryState.DEAD
    assert "seg.dcm" in row.detail


def test_a_withdrawal_names_the_instances_that_were_sent_in_their_form_after_a_change_of_the_profile(
    journal: Journal, clock: Any, tmp_path: Path, studio: Any
) -> None:
    folder, inputs = write_small_result(studio, tmp_path / "results")
    journal.instances.add(facts_of(tmp_path, "r1"))
    begin_work(journal, tmp_path, folder.name, folder=folder)
    peer = InMemory("pacs")
    step = deliver_step(journal, clock, peer, objects=(), profile="weasis", withdraw=True)
    step.state = StateDirectory(tmp_path)
    step.run_once()
    (row,) = journal.deliveries.of_series(KEY)
    assert row.state is DeliveryState.CONFIRMED
    assert {"seg.labelmap.dcm", "volumes.labelmap.dcm", "midplane.dcm"} <= set(row.accepted)
    assert "seg.dcm" not in row.accepted
    assert not (tmp_path / "outgoing" / "pacs").exists()
    journal.instances.correct(replace(facts_of(tmp_path, "r1"), digest="corrected"))
    step.config = step.config.model_copy(update={"profile": "dicom-viewer"})
    _run(step, clock)
    (note,) = [h for h in peer.held if h.endswith("rejection.dcm")]
    ds = dcmread(BytesIO(peer.held[note]))
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    named = {
        str(item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert len(named) == len(row.accepted)
    assert {inputs.key.uid(f"{r}.labelmap.instance") for r in ("seg", "volumes")} <= named
    assert inputs.key.uid("seg.instance") not in named
    assert not (tmp_path / "outgoing" / "pacs").exists()
