"""Refusals by peer: counted in memory, written seldom, bounded in both places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.journal.journal import Journal
from node.journal.refusals import MOST_ROWS, Refusal
from node.receive.refusals import LONGEST_REASON, MOST_PENDING, Refusals, RefusalStep


@pytest.fixture
def journal(tmp_path: Path, clock: Any) -> Journal:
    return Journal.open(tmp_path / "journal.sqlite", clock)


def test_one_row_for_a_peer_with_its_count_and_last_reason(journal: Journal) -> None:
    at = [100.0]
    refusals = Refusals(lambda: at[0])
    step = RefusalStep(journal, refusals, lambda: at[0])
    refusals.count("MR1 ", "10.0.0.5", "association", "no such caller")
    at[0] = 101.0
    refusals.count("MR1", "10.0.0.5", "association", "too many")
    refusals.count("MR1", "10.0.0.5", "object", "disk full")
    assert step.run_once() == 1
    at[0] = 103.0
    refusals.count("MR1", "10.0.0.5", "association", "no such caller")
    assert step.run_once() == 1
    assert journal.refusals.newest(9) == [
        Refusal("MR1", "10.0.0.5", "association", 3, 100.0, 103.0, "no such caller"),
        Refusal("MR1", "10.0.0.5", "object", 1, 101.0, 101.0, "disk full"),
    ]
    assert journal.refusals.latest() == 103.0


def test_a_flood_is_a_few_writes_of_a_few_rows(journal: Journal) -> None:
    at = [0.0]
    refusals = Refusals(lambda: at[0])
    step = RefusalStep(journal, refusals, lambda: at[0])
    writes = 0
    for n in range(5000):
        at[0] = 100.0 + n / 1000
        refusals.count(f"AE{n}", "10.0.0.5", "association", "x" * 5000)
        writes += step.run_once()
    at[0] += 2.0
    step.run_once()
    rows = journal.refusals.newest(10_000)
    assert writes <= 6
    assert len(rows) <= MOST_ROWS
    assert max(r.number for r in rows if not r.calling_ae) > 3000  # counted all the same
    assert max(len(r.reason) for r in rows) == LONGEST_REASON
    assert len(refusals.take()) == 0
    assert MOST_PENDING < 5000


def test_of_too_many_peers_the_quiet_ones_are_forgotten(journal: Journal) -> None:
    for n in range(MOST_ROWS + 20):
        journal.refusals.add([Refusal(f"AE{n}", "10.0.0.5", "object", 1, n, n, "")])
    rows = journal.refusals.newest(10_000)
    assert len(rows) == MOST_ROWS
    assert min(r.last_at for r in rows) == 20.0
