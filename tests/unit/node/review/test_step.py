"""The step that judges segmentations: rows, folders, waits and faults; what the reading process answers is given here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from node.events import CorrectionJudged, RowFailed
from node.journal.corrections import (
    CORRECTION_ACCEPTED,
    CORRECTION_REFUSED,
    UNCHANGED_PART,
    CorrectionState,
)
from node.journal.rows import SeriesKey
from node.journal.states import SeriesEvent
from node.observe.corrections import correction_lines, corrections_json, summary_line
from node.observe.doctor import Check, examine
from node.retention.purge import Purger
from node.review.kept import file_of
from node.review.step import AGAIN_S
from node.sandbox.child import Silence
from tests.support.reviewing import ACCEPTED, VALUES, Review

S = CorrectionState


def _history(review: Review, key: SeriesKey) -> list[str]:
    return [e.event for e in review.kept.journal.series.events(key)]


def test_an_accepted_correction_is_a_folder_with_images_and_a_row(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    assert review.run() == 1
    (folder,) = review.folders("accepted")
    assert sorted(p.name for p in folder.iterdir()) == [
        "00000.dcm", "00001.dcm", "correction.json", file_of(review.digests[0]),
    ]  # fmt: skip
    (row,) = review.kept.journal.corrections.all()
    assert (row.state, row.source, row.entry) == (S.ACCEPTED, source, folder.name)
    assert (row.calling_ae, row.result_id) == ("VIEWER", "2.25.10")
    record = json.loads((folder / "correction.json").read_text("utf-8"))
    assert (record["values"], record["content_creator"]) == (VALUES, "Reader^Rita")
    assert _history(review, source)[-1] == CORRECTION_ACCEPTED
    (event,) = review.events
    assert event == CorrectionJudged("1.9.1", source.series, "accepted", "", "")
    assert "Rita" not in json.dumps([row.figures, row.reason])
    assert review.run() == 0
    assert len(review.asked) == 2


def test_the_question_names_images_result_and_our_uids(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    review.run()
    kind, asked = review.asked[1]
    assert kind == "judge"
    assert len(asked["images"]) == 2
    assert Path(asked["result"]).name == "2.25.10"
    assert len(asked["own"]) == 4


def test_what_retention_removes_stays_in_the_folder_of_a_correction(review: Review) -> None:
    source = review.kept.deliver(1)
    seg = review.send(1, of=source)
    review.run()
    for key in (source, seg):
        Purger(review.kept.journal).series(review.kept.purgeable(key), "a person asked")
    assert review.kept.files() == 0
    (folder,) = review.folders("accepted")
    assert [p.stat().st_size > 1000 for p in sorted(folder.glob("*.dcm"))] == [True] * 3
    review.send(2, of=source)
    review.run()
    assert review.rows()[0] == (S.REFUSED, "purged-result")


def test_a_later_correction_takes_the_place_of_the_earlier_one(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    review.run()
    (first,) = review.folders("accepted")
    review.send(2, of=source)
    review.run()
    assert review.rows() == [(S.ACCEPTED, ""), (S.REPLACED, "")]
    (second,) = review.folders("accepted")
    assert [f.name for f in review.folders("replaced")] == [first.name]
    assert second.name != first.name
    entries = corrections_json(review.kept.journal, review.kept.state)
    assert [Path(e["folder"]).is_dir() for e in entries] == [True, True]
    assert summary_line(entries, review.kept.state).startswith("1 case to import")


def _part(kept: list[int], unchanged: bool = False) -> dict[str, Any]:
    if unchanged:
        return {
            "refused": {"code": UNCHANGED_PART, "text": "as the result", "is_correction": False}
        }
    return ACCEPTED | {"kept": kept}


def test_objects_of_one_series_are_one_case(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    review.run()
    (first,) = review.folders("accepted")
    review.says = _part([0])
    review.send(2, of=source)
    review.run()
    (both,) = review.folders("accepted")
    names = [file_of(digest) for digest in review.digests]
    assert review.asked[-1][1]["earlier"] == [str(first / names[0])]
    assert json.loads((both / "correction.json").read_text())["segmentations"] == names
    assert all((both / name).is_file() for name in names)
    assert {r.entry for r in review.kept.journal.corrections.all()} == {both.name}
    assert review.rows() == [(S.ACCEPTED, ""), (S.ACCEPTED, "")]
    entries = corrections_json(review.kept.journal, review.kept.state)
    assert summary_line(entries, review.kept.state).startswith("1 case to import")
    review.says = _part([1])
    review.send(3, of=source)
    review.run()
    assert [r.state for r in review.kept.journal.corrections.all()] == [
        S.ACCEPTED,
        S.ACCEPTED,
        S.REPLACED,
    ]
    (last,) = review.folders("accepted")
    assert sorted(p.name for p in last.glob("seg*")) == sorted(
        file_of(d) for d in review.digests[1:]
    )


def test_a_part_that_changes_nothing_counts_once_another_is_corrected(review: Review) -> None:
    source = review.kept.deliver(1)
    review.says = _part([], unchanged=True)
    review.send(1, of=source)
    review.run()
    assert review.rows() == [(S.UNRELATED, UNCHANGED_PART)]
    review.says = _part([0])
    review.send(2, of=source)
    review.run()
    assert review.rows() == [(S.ACCEPTED, ""), (S.ACCEPTED, "")]
    (folder,) = review.folders("accepted")
    assert (folder / file_of(review.digests[0])).is_file()


def test_a_retry_keeps_what_others_hold_of_the_case(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    review.run()
    review.says = _part([0])
    seg = review.send(2, of=source)
    review.run()
    for key in (source, SeriesKey("1.1.1", "1.9.1")):
        if key != source:  # the first object is in the folder of the case alone
            Purger(review.kept.journal).series(review.kept.purgeable(key), "a person asked")
    review.kept.clock.pass_s(5)
    review.kept.journal.series.advance(seg, SeriesEvent.RETRY_REQUESTED)
    review.kept.journal.series.advance(seg, SeriesEvent.RULES_REJECT, detail={"reason": "no MR"})
    assert review.run() == 1
    (folder,) = review.folders("accepted")
    assert all((folder / file_of(digest)).is_file() for digest in review.digests)
    assert {r.entry for r in review.kept.journal.corrections.all()} == {folder.name}


def test_a_folder_that_a_person_deleted_is_no_case_and_holds_no_part_of_one(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    review.run()
    (folder,) = review.folders("accepted")
    shutil.rmtree(folder)
    journal, state = review.kept.journal, review.kept.state
    entries = corrections_json(journal, state)
    assert summary_line(entries, state).startswith("0 cases to import")
    assert "    its folder is gone: it is no case any more" in correction_lines(entries[0])
    (finding,) = [f for f in examine(journal, Check(state)) if f.kind == "correction-missing"]
    assert (finding.path, folder.name in finding.remedy) == (str(folder), True)
    review.send(2, of=source)
    review.run()
    assert review.asked[-1][1]["earlier"] == []
    assert review.rows() == [(S.ACCEPTED, ""), (S.REPLACED, "")]
    assert not [f for f in examine(journal, Check(state)) if f.kind == "correction-missing"]


def test_what_is_drawn_in_a_few_slices_alone_is_pointed_at(review: Review) -> None:
    figures = {"drawn": ["aa", "ivc"], "structures": {
        "aa": {"before_ml": 10.0, "after_ml": 4.9}, "ivc": {"before_ml": 10.0, "after_ml": 5.1},
    }}  # fmt: skip
    review.says = {"accepted": figures, "kept": [], "creator": ""}
    review.send(1, of=review.kept.deliver(1))
    review.run()
    (entry,) = corrections_json(review.kept.journal, review.kept.state)
    assert correction_lines(entry)[-1] == "    less than half of what the result has: aa"


def test_what_a_killed_removal_left_is_removed_at_the_next_start(review: Review) -> None:
    review.send(1, of=review.kept.deliver(1))
    review.run()
    journal = review.kept.journal
    journal.corrections.remove(journal.corrections.all(), "E. Miller", "wrong level")
    assert len(review.folders("accepted")) == 1
    Review(review.kept).run()
    assert review.folders("accepted") == review.folders("replaced") == []
    assert review.rows() == [(S.REMOVED, "")]


def test_a_kill_between_folder_and_row_leaves_nothing_doubled(review: Review) -> None:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    stray = review.kept.state / "corrections" / "accepted" / "of a killed one"
    stray.mkdir(parents=True)
    (stray.parent / ".half.part").mkdir()
    review.run()
    assert [f.name for f in review.folders("replaced")] == [stray.name]
    assert len(review.folders("accepted")) == 1


def test_a_refusal_names_its_reason_and_keeps_no_folder(review: Review) -> None:
    source = review.kept.deliver(1)
    review.says = {"refused": {"code": "other-patient", "text": "its Patient ID …", "is_correction": True}}  # fmt: skip
    review.send(1, of=source)
    assert review.run() == 1
    assert review.rows() == [(S.REFUSED, "other-patient")]
    assert review.folders("accepted") == []
    assert _history(review, source)[-1] == CORRECTION_REFUSED
    (entry,) = corrections_json(review.kept.journal, review.kept.state)
    assert "refused   1.9.1.1: its Patient ID …" in correction_lines(entry)[0]


def test_what_is_no_correction_is_shown_on_request_alone(review: Review) -> None:
    source = review.kept.deliver(1)
    review.says = {"refused": {"code": "unchanged-copy", "text": "same", "is_correction": False}}
    review.send(1, of=source)
    review.send(2, of=SeriesKey("", "1.2.77"))
    review.run()
    review.names = (source.series,)
    journal, state = review.kept.journal, review.kept.state
    assert corrections_json(journal, state) == []
    assert len(corrections_json(journal, state, unrelated=True)) == 2
    assert CORRECTION_REFUSED not in _history(review, source)


def test_values_are_shown_before_and_after(review: Review) -> None:
    review.send(1, of=review.kept.deliver(1))
    review.run()
    (entry,) = corrections_json(review.kept.journal, review.kept.state)
    lines = correction_lines(entry)
    assert lines[2] == "    OC 9.8 mm → missing"
    assert lines[3] == "    not sent, as in the result: n4"


def test_a_segmentation_waits_for_a_result_that_is_on_its_way(review: Review) -> None:
    source = review.kept.receive(1)
    review.send(1, of=source)
    assert review.run() == 0
    assert review.run() == 0
    assert len(review.asked) == 1
    review.kept.deliver(1, again=True)
    review.kept.clock.pass_s(AGAIN_S)
    assert review.run() == 1
    assert review.rows() == [(S.ACCEPTED, "")]


def test_a_fault_of_the_machine_puts_off_and_ends_with_success(review: Review) -> None:
    seg = review.send(1, of=review.kept.deliver(1))
    review.says = OSError(28, "full")
    assert review.run() == 0
    assert [type(e) for e in review.events] == [RowFailed]
    assert review.kept.journal.series.get(seg).fault
    review.says = ACCEPTED
    review.kept.clock.pass_s(60)
    assert review.run() == 1
    assert review.kept.journal.series.get(seg).fault == ""


@pytest.mark.parametrize("cause", ["late", "ended"])
def test_a_process_that_is_ended_is_a_refusal(review: Review, cause: Any) -> None:
    review.says = Silence(cause)
    review.send(1, of=review.kept.deliver(1))
    assert review.run() == 1
    assert review.rows() == [(S.REFUSED, "unreadable-segmentation")]


def test_a_retry_of_its_series_asks_again_and_doubles_nothing(review: Review) -> None:
    seg = review.send(1, of=review.kept.deliver(1))
    review.run()
    review.kept.clock.pass_s(5)
    journal = review.kept.journal
    journal.series.advance(seg, SeriesEvent.RETRY_REQUESTED)
    journal.series.advance(seg, SeriesEvent.RULES_REJECT, detail={"reason": "not an MR image"})
    assert review.run() == 1
    assert review.rows() == [(S.ACCEPTED, "")]
    assert len(review.folders("accepted")) == 1


def test_a_series_without_a_result_is_said_so(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    review.send(1, of=review.kept.skip(1))
    review.run()
    assert review.rows() == [(S.UNRELATED, "no-result")]
