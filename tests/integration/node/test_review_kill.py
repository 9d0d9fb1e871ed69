"""SIGKILL and a full disk while a correction is kept: it is one case, complete, and recorded once."""

from __future__ import annotations

import errno
import importlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.events import RowFailed
from node.journal.corrections import CORRECTION_ACCEPTED, CorrectionState
from node.journal.journal import Journal
from node.journal.rows import SeriesKey
from node.review.kept import file_of
from node.review.removal import plan_removal, remove_case
from node.review.step import LOOK_S, ReviewStep
from tests.support.reviewing import ACCEPTED, Review

S = CorrectionState
STEPS = (
    "node.review.kept:CorrectionFolders.publish",
    "node.review.kept:_link",
    "node.review.kept:write_durably",
    "node.durable:sync_folder",
    "node.journal.corrections:CorrectionTable.record",
    "node.review.kept:CorrectionFolders.keep_only",
    "node.review.kept:move_durably",
)
"""What is done for one correction, in order; each is followed by a kill at its first and its second call."""


def _holder(at: str) -> tuple[Any, str]:
    module, _, path = at.partition(":")
    *outer, name = path.split(".")
    holder: Any = importlib.import_module(module)
    for part in outer:
        holder = getattr(holder, part)
    return holder, name


def _killing(at: str, when: str, nth: int) -> None:
    """Change a function of this process: its nth call is the last thing that the process does."""
    holder, name = _holder(at)
    true, calls = getattr(holder, name), [0]

    def call(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = true(*arguments, **options)
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(holder, name, call)


def _in_another_process(review: Review, act: Callable[[Journal], object]) -> int | None:
    """Do it in a process with a journal of its own; returns its exit code."""

    def run() -> None:
        act(Journal.writing(review.kept.journal.database.path, review.kept.clock))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    return process.exitcode


def _step(review: Review, journal: Journal) -> ReviewStep:
    return ReviewStep(
        journal, review.kept.state, review.kept.clock, lambda _: None, review.step.ask
    )


@dataclass(frozen=True)
class Second:
    """A case of one object, and a second object that is to become part of it."""

    review: Review
    source: SeriesKey

    def check(self) -> None:
        """There is one case of both objects, complete, and nothing of an attempt."""
        review = self.review
        (folder,) = review.folders("accepted")
        names = [file_of(digest) for digest in review.digests]
        assert json.loads((folder / "correction.json").read_text())["segmentations"] == names
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            [*names, "00000.dcm", "00001.dcm", "correction.json"]
        )
        assert not list(review.kept.state.rglob("*.part"))
        rows = review.kept.journal.corrections.all()
        assert {(r.state, r.entry) for r in rows} == {(S.ACCEPTED, folder.name)}
        assert len(rows) == 2
        told = [e.detail["digest"] for e in review.kept.journal.series.events(self.source) if e.event == CORRECTION_ACCEPTED]  # fmt: skip
        assert told == review.digests


@pytest.fixture
def second(review: Review) -> Second:
    source = review.kept.deliver(1)
    review.send(1, of=source)
    review.run()
    review.says = ACCEPTED | {"kept": [0]}
    review.send(2, of=source)
    review.kept.clock.pass_s(LOOK_S)
    return Second(review, source)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", STEPS, ids=[s.rpartition(":")[2] for s in STEPS])
def test_a_kill_at_any_step_ends_in_one_case(second: Second, at: str, when: str, nth: int) -> None:
    review = second.review

    def act(journal: Journal) -> None:
        _killing(at, when, nth)
        _step(review, journal).run_once()

    code = _in_another_process(review, act)
    assert code in {-signal.SIGKILL, 0} if nth == 2 else code == -signal.SIGKILL
    review.kept.clock.pass_s(LOOK_S)
    restarted = _step(review, review.kept.journal)
    restarted.run_once()
    second.check()
    review.kept.clock.pass_s(LOOK_S)
    assert restarted.run_once() == 0


@pytest.mark.parametrize(
    "at", ["node.review.kept:os.link", "node.review.kept:write_durably", "node.durable:sync_folder"]
)
def test_a_full_disk_puts_off_and_leaves_the_case_as_it_was(
    second: Second, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = second.review
    (before,) = review.folders("accepted")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    holder, name = _holder(at)
    with monkeypatch.context() as disk:
        disk.setattr(holder, name, full)
        assert review.run() == 0
    assert [type(e) for e in review.events][-1] is RowFailed
    assert review.folders("accepted") == [before]
    assert (before / file_of(review.digests[0])).is_file()
    assert review.rows() == [(S.ACCEPTED, "")]
    review.kept.clock.pass_s(3600)
    assert review.run() == 1
    second.check()


@pytest.mark.parametrize(
    ("at", "when"),
    [
        ("node.journal.corrections:CorrectionTable.remove", "before"),
        ("node.journal.corrections:CorrectionTable.remove", "after"),
        ("node.review.kept:move_durably", "after"),
        ("node.review.kept:CorrectionFolders.remove", "after"),
    ],
)
def test_a_kill_while_a_case_is_removed_leaves_it_or_nothing(
    review: Review, at: str, when: str, tmp_path: Path
) -> None:
    review.send(1, of=review.kept.deliver(1))
    review.run()
    (folder,) = review.folders("accepted")

    def act(journal: Journal) -> None:
        _killing(at, when, 1)
        plan = plan_removal(journal, review.kept.state, folder.name)
        remove_case(journal, review.kept.state, plan, "E. Miller", "wrong level")

    assert _in_another_process(review, act) == -signal.SIGKILL
    review.kept.clock.pass_s(LOOK_S)
    _step(review, review.kept.journal).run_once()
    is_kept = (at, when) == ("node.journal.corrections:CorrectionTable.remove", "before")
    assert review.rows() == [(S.ACCEPTED if is_kept else S.REMOVED, "")]
    assert review.folders("accepted") == ([folder] if is_kept else [])
    assert not list(review.kept.state.rglob("*.part"))
