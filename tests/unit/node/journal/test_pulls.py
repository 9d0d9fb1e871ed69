"""Pulls in the journal: who is first, what is known, what a person's request leaves behind."""

from __future__ import annotations

from typing import Any

from node.journal.instances import DAMAGED
from node.journal.journal import Journal
from node.journal.pulls import PULL_REQUESTED, PullState
from tests.support.clock import Clock


def test_people_come_before_rules_and_a_clock_set_back_delays_none(
    journal: Journal, clock: Clock
) -> None:
    journal.pulls.ask("a", "1.1", rule="nightly")
    second = journal.pulls.ask("a", "1.2", by="anna")
    due = journal.pulls.due(clock.wall())
    assert due == second
    journal.pulls.defer(second, "away", 60.0)
    waits = journal.pulls.due(clock.wall())
    assert waits is not None
    assert waits.study == "1.1"
    journal.pulls.end(waits, PullState.NOTHING, "none")
    assert journal.pulls.due(clock.wall()) is None
    clock.jump_s(-9999.0)
    assert journal.pulls.due(clock.wall()) is not None


def test_asking_again_ends_the_wait_and_forgets_the_counts(journal: Journal, clock: Clock) -> None:
    first = journal.pulls.ask("a", "1.1", by="anna")
    journal.pulls.progress(first, 5, 1, 2, 1)
    journal.pulls.defer(first, "away", 600.0)
    clock.pass_s(1.0)
    again = journal.pulls.ask("a", "1.1", by="bert")
    assert (again.id, again.found, again.tries, again.reason) == (first.id, 0, 0, "")
    assert journal.pulls.due(clock.wall()) == again


def test_a_damaged_object_may_be_fetched_again_and_a_quarantined_one_not(
    journal: Journal, facts: Any
) -> None:
    journal.instances.add(facts(1))
    journal.instances.quarantine(facts(2), "broken")
    journal.instances.quarantine(facts(3, "x" + DAMAGED), "gone")
    uids = [f"1.2.3.{n}" for n in range(1, 1200)]
    assert journal.pulls.known(uids) == {"1.2.3.1", "1.2.3.2"}


def test_a_request_of_a_person_is_an_event_for_the_audit_trail(journal: Journal) -> None:
    journal.pulls.ask("a", "1.1", by="anna")
    journal.pulls.ask("a", "1.2", rule="nightly")
    (change,) = [c for c in journal.changes.since(0, 99) if c.event == PULL_REQUESTED]
    assert change.detail == {"by": "anna", "source": "a", "study": "1.1"}
    assert journal.counts()["pull.waiting"] == 2
