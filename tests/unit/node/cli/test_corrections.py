"""`corrections --remove`: says what would go, and takes a case back only with `--yes`, with who and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from node.audit.from_journal import AUDITED
from node.cli.app import run
from node.journal.corrections import CORRECTION_REMOVED, CorrectionState
from node.retention.purge import Purger
from tests.support.reviewing import Review

Call = Callable[..., tuple[int, str, str]]
S = CorrectionState


@pytest.fixture
def call(review: Review, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    config = review.kept.state.parent / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{review.kept.state}"\n')
    monkeypatch.setattr("time.time", review.kept.clock.wall)

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(["corrections", *arguments, "--config", str(config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return called


@pytest.fixture
def case(review: Review) -> str:
    review.send(1, of=review.kept.deliver(1))
    review.run()
    (folder,) = review.folders("accepted")
    return folder.name


def test_without_yes_nothing_is_changed(review: Review, case: str, call: Call) -> None:
    code, out, err = call("--remove", case, "--reason", "wrong level")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "accepted  1.9.1.1",
        f"case {case}: 4 files would be removed; --yes does it (nothing freed, spool and result hold it too)",
    ]
    assert review.rows() == [(S.ACCEPTED, "")]
    assert len(review.folders("accepted")) == 1


@pytest.mark.parametrize("by_uid", [False, True])
def test_a_case_is_taken_back_with_who_and_why(
    review: Review, case: str, call: Call, by_uid: bool
) -> None:
    name = "1.9.1.1" if by_uid else case
    code, out, _ = call("--remove", name, "--reason", "wrong level", "--yes", "--json")
    answer = json.loads(out)
    assert (code, answer["removed"], answer["case"]) == (0, True, case)
    assert answer["segmentations"] == ["1.9.1.1"]
    assert review.folders("accepted") == []
    (row,) = review.kept.journal.corrections.all()
    assert (row.state, row.reason) == (S.REMOVED, "wrong level")
    last = review.kept.journal.series.events(row.source)[-1]  # type: ignore[arg-type]
    assert (last.event, last.detail["entry"], last.detail["reason"]) == (CORRECTION_REMOVED, case, "wrong level")  # fmt: skip
    assert last.detail["by"]
    assert CORRECTION_REMOVED in AUDITED
    assert "removed   1.9.1.1: wrong level" in call()[1]
    assert call("--remove", name, "--reason", "again", "--yes")[0] == 3
    assert review.run() == 0


def test_what_the_spool_lost_is_freed_by_the_removal(review: Review, case: str, call: Call) -> None:
    (source,) = {r.source for r in review.kept.journal.corrections.all()}
    Purger(review.kept.journal).series(review.kept.purgeable(source), "a person asked")  # type: ignore[arg-type]
    answer = json.loads(call("--remove", case, "--reason", "imported", "--json")[1])
    assert answer["bytes_freed"] == sum(
        p.stat().st_size for p in review.folders("accepted")[0].glob("0*.dcm")
    )


@pytest.mark.parametrize(
    "arguments", [("--remove", "x"), ("--yes",), ("--reason", "so"), ("--remove", "x", "--reason", " ")]
)  # fmt: skip
def test_a_removal_needs_a_reason_and_nothing_else_does(call: Call, arguments: Any) -> None:
    assert call(*arguments)[0] == 2


def test_a_case_that_changed_meanwhile_stays(
    review: Review, case: str, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    from node.journal.corrections import CorrectionTable

    true = CorrectionTable.remove

    def late(self: CorrectionTable, rows: Any, *others: str) -> None:
        with self.database.transaction() as tx:
            tx.execute("UPDATE correction SET entry = 'other'", ())
        true(self, rows, *others)

    monkeypatch.setattr(CorrectionTable, "remove", late)
    code, _, err = call("--remove", case, "--reason", "wrong level", "--yes")
    assert (code, "has changed meanwhile" in err) == (1, True)
    assert len(review.folders("accepted")) == 1
