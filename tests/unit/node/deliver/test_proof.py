"""Proof that a destination holds what it took, and answers object by object."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.deliver.memory import InMemory
from node.deliver.offers import remedy
from node.deliver.port import Outcome, StorageCheck
from node.deliver.step import DeliverStep
from node.journal.deliveries import DeliveryTable
from node.journal.journal import Journal
from node.journal.states import DeliveryState, SeriesState
from node.observe.explain import why, why_lines
from node.store.layout import StateDirectory
from tests.support.deliveries import (
    CONFIG,
    FOUR,
    begin_work,
    deliver_step,
    facts_of,
    only_delivery,
    publish_result,
)
from tests.support.mr_series import KEY
from tests.support.sent_results import write_small_result

# ---- proof ---------------------------------------------------------------------------------------

NO_ANSWER = StorageCheck("unknown", "QIDO-RS answers HTTP 503")


def test_a_failed_question_is_asked_again_with_back_off_and_nothing_is_sent_again(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", checks=[NO_ANSWER, NO_ANSWER])
    step = deliver_step(journal, clock, peer)
    asked = []
    for _ in range(20):
        step.run_once()
        asked.append(peer.asked)
        if peer.asked == 1:
            row = only_delivery(journal)
            assert row.state is DeliveryState.SENT
            assert "storage is not verified yet: QIDO-RS answers HTTP 503" in row.fault
            assert journal.series.get(KEY).state is SeriesState.ENCODED
        clock.pass_s(1)
    assert (asked[4], asked[5], asked[14], asked[15]) == (1, 2, 2, 3)
    row = only_delivery(journal)
    assert (row.state, row.proof, row.fault) == (DeliveryState.CONFIRMED, "stored", "")
    assert peer.sends == 1


def test_the_question_survives_a_restart(journal: Journal, clock: Any, tmp_path: Path) -> None:
    publish_result(journal, tmp_path)
    deliver_step(journal, clock, InMemory("pacs", checks=[NO_ANSWER])).run_once()
    peer = InMemory("pacs", offers_query=False)
    step = deliver_step(journal, clock, peer)
    assert step.run_once() == 0
    clock.pass_s(5)
    step.run_once()
    assert (only_delivery(journal).state, only_delivery(journal).proof) == (
        DeliveryState.CONFIRMED,
        "unproven",
    )
    assert peer.sends == 0


def test_questions_end_with_the_patience_and_then_it_is_said_that_the_objects_were_taken(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs", checks=[NO_ANSWER] * 50)
    step = deliver_step(journal, clock, peer)
    for _ in range(50):
        step.run_once()
        clock.pass_s(60)
    row = only_delivery(journal)
    assert row.state is DeliveryState.DEAD
    assert "every object was accepted, but 10 questions did not confirm storage" in row.detail
    assert (peer.sends, peer.asked) == (1, 10)
    assert row.waited_s >= CONFIG.patience_s
    journal.request_retry(KEY.series)
    peer.checks.clear()
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 2


def test_only_what_is_missing_is_sent_again(journal: Journal, clock: Any, tmp_path: Path) -> None:
    files = ("seg.dcm", "volumes.dcm")
    publish_result(journal, tmp_path, files=files)
    sent: list[list[str]] = []

    class Loses(InMemory):
        def send(self, files: Any) -> Any:
            sent.append([p.name for p in files])
            outcomes = InMemory.send(self, files)
            if len(sent) == 1:
                self.held.pop("r1/volumes.dcm")
            return outcomes

    step = deliver_step(journal, clock, Loses("pacs"), objects=files)
    step.run_once()
    assert "not held: volumes.dcm" in only_delivery(journal).detail
    clock.pass_s(60)
    step.run_once()
    assert sent == [["seg.dcm", "volumes.dcm"], ["volumes.dcm"]]
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


def test_what_may_be_retried_is_retried_and_the_rest_is_recorded_per_object(
    journal: Journal, clock: Any, tmp_path: Path
) -> None:
    publish_result(journal, tmp_path, files=FOUR)
    low = Outcome("seg.dcm", "transient", "no space", "0xA700")
    never = Outcome("volumes.dcm", "permanent", "cannot understand", "0xC000")
    peer = InMemory("pacs", script=[(low, never)])
    step = deliver_step(journal, clock, peer, objects=FOUR)
    step.run_once()
    row = only_delivery(journal)
    assert row.state is DeliveryState.WAITING
    assert row.accepted == ("midplane.dcm", "measurements.dcm")
    assert row.refused == {"volumes.dcm": "0xC000: cannot understand"}
    assert "seg.dcm: 0xA700: no space" in row.detail
    clock.pass_s(5)
    step.run_once()
    row = only_delivery(journal)
    assert set(peer.held) == {f"r1/{f}" for f in FOUR if f != "volumes.dcm"}
    assert peer.sends == 2
    assert row.state is DeliveryState.DEAD
    assert "volumes.dcm: 0xC000: cannot understand" in row.detail
    assert "seg.dcm" in row.detail.split("taken: ")[1]
    assert journal.series.get(KEY).state is SeriesState.ENCODED
    journal.request_retry(KEY.series)
    step.run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED


def test_killed_after_an_object_was_taken_it_is_not_sent_again(
    journal: Journal, clock: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    publish_result(journal, tmp_path)
    peer = InMemory("pacs")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DeliveryTable, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        deliver_step(journal, clock, peer).run_once()
    monkeypatch.undo()
    deliver_step(journal, clock, peer).run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    assert peer.sends == 1


# ---- forms --------------------------------------------------------------------------------------


class Strict(InMemory):
    """A destination that takes no segmentation, and remembers what it was asked for."""

    def send(self, files: Any) -> Any:
        self.script = [
            tuple(
                Outcome(f.name, "permanent", f"no; {remedy(f.sop_class)}", "no context")
                for f in files
                if f.name.startswith("seg.")
            )
        ]
        return InMemory.send(self, files)


@pytest.mark.parametrize(
    ("profile", "file", "what_to_do"),
    [
        ("dicom-viewer", "seg.dcm", 'choose profile = "images-only"'),
        ("weasis", "seg.labelmap.dcm", 'set seg_form = "default"'),
    ],
)
def test_why_names_the_refused_object_and_what_to_do_and_the_others_are_there(
    journal: Journal, clock: Any, tmp_path: Path, studio: Any, profile: Any, file: str, what_to_do: str
) -> None:  # fmt: skip
    folder, _ = write_small_result(studio, tmp_path / "results")
    journal.instances.add(facts_of(tmp_path, "r1"))
    begin_work(journal, tmp_path, folder.name, folder=folder)
    peer = Strict("pacs")
    step = deliver_step(journal, clock, peer, objects=(), profile=profile)
    step.state = StateDirectory(tmp_path)
    step.run_once()
    row = only_delivery(journal)
    assert row.state is DeliveryState.DEAD
    assert set(row.refused) == {file}
    assert {h.split("/")[1] for h in peer.held} == set(row.accepted)
    assert len(row.accepted) == len(step.config.sends.objects) - 1
    (series,) = why(journal, KEY.series)
    (line,) = [text for text in why_lines(series) if "→ pacs" in text]
    assert f"{file}: no context: no; enable" in line
    assert what_to_do in line


def test_killed_while_a_form_is_written_nothing_is_sent_and_the_next_start_sends_it(
    journal: Journal, clock: Any, tmp_path: Path, studio: Any, monkeypatch: Any
) -> None:
    folder, inputs = write_small_result(studio, tmp_path / "results")
    journal.instances.add(facts_of(tmp_path, "r1"))
    begin_work(journal, tmp_path, folder.name, folder=folder)
    peer = InMemory("pacs")
    write = Path.write_bytes

    def killed(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    def step() -> DeliverStep:
        made = deliver_step(journal, clock, peer, objects=(), profile="weasis")
        made.state = StateDirectory(tmp_path)
        return made

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        step().run_once()
    monkeypatch.undo()
    assert peer.sends == 0
    step().run_once()
    assert only_delivery(journal).state is DeliveryState.CONFIRMED
    seg = dcmread(BytesIO(peer.held[f"{folder.name}/seg.labelmap.dcm"]))
    assert seg.SOPInstanceUID == inputs.key.uid("seg.labelmap.instance")
    assert not (tmp_path / "outgoing" / "pacs").exists()
