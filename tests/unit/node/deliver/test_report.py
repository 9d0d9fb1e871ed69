"""Reports on commitments that peers asked for, over an association of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node.commitment import Reference
from node.deliver.report import PATIENCE_S, ReportStep
from node.events import CommitmentAnswered, CommitmentNotAnswered
from node.journal.commitments import RequestState
from node.journal.journal import Journal


class Peer:
    """Takes reports, or answers why not."""

    def __init__(self, answer: str = "") -> None:
        self.answer, self.taken = answer, list[str]()

    def commit(self, *_: Any) -> Any:
        raise AssertionError

    def tell(
        self, transaction_uid: str, references: Sequence[Reference], failed: Mapping[str, int]
    ) -> str:
        del references, failed
        self.taken.append(transaction_uid)
        return self.answer


def _checked(journal: Journal, ae: str, *uids: str) -> None:
    for uid in uids:
        journal.commitments.request(uid, ae, "10.1.2.3", [("1.2", "1.2.3")], report_s=0, most=99)
    for row in journal.commitments.requests(RequestState.ASKED):
        journal.commitments.checked(row.id, {})


def test_one_peer_that_is_away_is_tried_once_and_delays_no_other(
    journal: Journal, clock: Any
) -> None:
    away, good = Peer("does not respond"), Peer()
    _checked(journal, "AWAY", "2.25.1", "2.25.2", "2.25.3")
    _checked(journal, "GOOD", "2.25.4")
    heard: list[Any] = []
    step = ReportStep(journal, {"AWAY": away, "GOOD": good}, clock, lambda: 0.0, heard.append)
    step.run_once()
    assert (away.taken, good.taken) == (["2.25.1"], ["2.25.4"])
    assert step.run_once() == 0
    assert [type(e) for e in heard].count(CommitmentAnswered) == 1
    clock.pass_s(5)
    away.answer = ""
    step.run_once()
    assert away.taken == ["2.25.1", "2.25.1", "2.25.2", "2.25.3"]


def test_a_report_that_is_never_taken_is_given_up_after_a_day(journal: Journal, clock: Any) -> None:
    peer, heard = Peer("answers N-EVENT-REPORT with 0x0110"), list[Any]()
    _checked(journal, "MR1", "2.25.1")
    step = ReportStep(journal, {"MR1": peer}, clock, lambda: 0.0, heard.append)
    for _ in range(300):
        step.run_once()
        clock.pass_s(450)
    (row,) = journal.commitments.requests(RequestState.DROPPED)
    assert row.waited_s >= PATIENCE_S
    assert 90 < len(peer.taken) < 110
    assert [e.wait_s for e in heard if isinstance(e, CommitmentNotAnswered)] == [5.0, None]
