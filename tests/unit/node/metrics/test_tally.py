from __future__ import annotations

from dataclasses import asdict

from node import events
from node.metrics import catalogue
from node.metrics.tally import MAX_NAMES, OTHER, Tally


def _hear(tally: Tally, event: events.Event) -> None:
    tally.hear(type(event).__name__, asdict(event))


def test_events_become_counters() -> None:
    tally = Tally()
    for outcome in ("released", "released", "aborted"):
        _hear(tally, events.AssociationEnded("10.0.0.1", "MR1", 5, 2, outcome, ""))
    _hear(tally, events.AssociationRefused("10.0.0.2", "AE title"))
    _hear(tally, events.ObjectRefused("10.0.0.1", "disk", "0xA700", "MR2"))
    _hear(tally, events.StepFailed("track", "disk"))
    _hear(tally, events.RowFailed("track", "1.2.3", "disk"))
    _hear(tally, events.WorkerEnded("w1", -9, "memory", 1, 2.0))
    assert tally.values(catalogue.ASSOCIATIONS) == {("released",): 2, ("aborted",): 1, ("rejected",): 1}  # fmt: skip
    assert tally.values(catalogue.OBJECTS_RECEIVED) == {("MR1", "same"): 6, ("MR2", "refused"): 1}
    assert tally.values(catalogue.STEP_FAULTS) == {("track",): 2}
    assert tally.values(catalogue.WORKER_ENDS) == {("w1",): 1}
    assert tally.values(catalogue.EVENTS)["AssociationEnded",] == 3


def test_thousand_names_of_a_stranger_are_fifty_and_other() -> None:
    tally = Tally()
    for n in range(1000):
        tally.add(catalogue.BYTES_RECEIVED, f"AE{n}", by=2)
        tally.hear(f"Invented{n}", {})
    counts = tally.values(catalogue.BYTES_RECEIVED)
    assert len(counts) == MAX_NAMES + 1
    assert counts[OTHER,] == 2 * (1000 - MAX_NAMES)
    assert tally.values(catalogue.EVENTS) == {(OTHER,): 1000}
