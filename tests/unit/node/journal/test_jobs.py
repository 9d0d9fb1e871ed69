"""The table of jobs: its states, its plans, one at a time."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from node.errors import IllegalTransition, JobStateError, UnknownJob
from node.journal import migrate as schema
from node.journal.job_rows import JobPlan
from node.journal.journal import Journal
from node.journal.states import JOB_TRANSITIONS, JobEvent, JobState
from tests.support.jobs import PLAN

ALLOWED = """
queued     started            running
queued     cancel_requested   cancelled
queued     fault              failed
running    node_stopped       queued
running    comparison_passed  proposed
running    comparison_failed  rejected
running    fault              failed
running    cancel_requested   cancelled
failed     enqueued_again     queued
cancelled  enqueued_again     queued
proposed   promote_requested  promoted
"""


# ---- the table and the journal -------------------------------------------------------------------


def test_every_pair_is_allowed_as_written_by_hand_or_refused(journal: Journal) -> None:
    rows = [line.split() for line in ALLOWED.strip().splitlines()]
    assert dict(JOB_TRANSITIONS) == {(state, event): target for state, event, target in rows}
    job = journal.jobs.enqueue(PLAN, "test")
    for event in JobEvent:
        if (JobState.QUEUED, event) not in JOB_TRANSITIONS:
            with pytest.raises(IllegalTransition, match=f"job 1: {event} does not fit queued"):
                journal.jobs.advance(job.id, event)
    assert len(JOB_TRANSITIONS) < len(list(product(JobState, JobEvent)))


def test_rejected_and_promoted_are_the_end() -> None:
    assert {s for s in JobState if not any(s is state for state, _ in JOB_TRANSITIONS)} == {
        JobState.REJECTED,
        JobState.PROMOTED,
    }


def test_plan_and_history_come_back_as_they_were(journal: Journal) -> None:
    job = journal.jobs.enqueue(PLAN, "E. Miller")
    journal.jobs.start(job.id, 7, "then", JobPlan("cases", "held.json", bundle="b"))
    journal.jobs.advance(job.id, JobEvent.FAULT, detail={"reason": "why"})
    row = journal.jobs.get(job.id)
    assert (row.state, row.reason, row.pid, row.starts) == ("failed", "why", 7, 1)
    assert row.plan.bundle == "b"
    assert [(e.event, e.state) for e in journal.jobs.events(job.id)] == [
        ("enqueued", "queued"),
        ("started", "running"),
        ("fault", "failed"),
    ]
    with pytest.raises(UnknownJob, match="no job 9"):
        journal.jobs.get(9)


def test_journal_of_the_first_version_is_taken_over_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(schema.migrations()[0][1])
        old.execute(
            "INSERT INTO series (study, series, state, first_at, last_at, state_at)"
            " VALUES ('1', '2', 'delivered', 0, 0, 0)"
        )
        old.execute("PRAGMA user_version = 1")
        old.commit()
    journal = Journal.open(path, time.time)
    assert journal.jobs.enqueue(PLAN, "test").id == 1
    assert journal.counts() == {"delivered": 1, "job.queued": 1}
    assert journal.promotions.newest() is None
    journal.close()


def test_only_one_is_enqueued_where_it_must_be_alone(journal: Journal) -> None:
    journal.jobs.enqueue(PLAN, "test")
    with pytest.raises(JobStateError, match="job 1 is queued"):
        journal.jobs.enqueue(PLAN, "schedule", alone=True)
    assert journal.jobs.enqueue(PLAN, "test").id == 2
