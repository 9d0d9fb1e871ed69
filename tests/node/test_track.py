from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from dicomseg import headers
from node import track
from node.config import TrackConfig
from node.events import EventLog
from node.journal import Journal
from node.records import InstanceFacts, SeriesKey
from node.rules import DEFAULT_RULES
from node.states import SeriesEvent, SeriesState
from node.track import Track, decide

KEY = SeriesKey("1.2.1", "1.2.3")
S, E = SeriesState, SeriesEvent
CONFIG = TrackConfig(quiet_seconds=30.0, settle_seconds=2.0)


@dataclass
class Tracked:
    """A tracker with its journal; `came` is what receiving does."""

    journal: Journal
    clock: Any
    log: StringIO

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """What a new process starts with."""
        self.track = Track(
            self.journal, CONFIG, DEFAULT_RULES, self.clock, EventLog("t", self.log), self.clock()
        )

    def came(self, paths: Sequence[Path]) -> None:
        for path in paths:
            one = headers.read(path)
            self.journal.add_instance(
                InstanceFacts(
                    one.sop_instance_uid, one.sop_class_uid, one.study_uid, one.series_uid,
                    one.digest, one.transfer_syntax_uid, path, 1,
                )
            )  # fmt: skip

    def after(self, seconds: float) -> SeriesState:
        self.clock.pass_s(seconds)
        self.track.run_once()
        return self.journal.series(KEY).state

    @property
    def reason(self) -> str:
        return self.journal.series(KEY).reason


@pytest.fixture
def node(tmp_path: Path, clock: Any) -> Iterator[Tracked]:
    journal = Journal.open(tmp_path / "state" / "journal.sqlite", clock)
    yield Tracked(journal, clock, StringIO())
    journal.close()


@pytest.fixture
def slices(tmp_path: Path, write_series: Any) -> Callable[..., list[Path]]:
    def make(count: int = 14, announced: int | None = None, **changes: Any) -> list[Path]:
        if announced is not None:
            changes["ImagesInAcquisition"] = announced
        return list(write_series(tmp_path / "in", slices=count, **changes))

    return make


def test_announced_count_and_regular_grid_is_complete_at_once(node: Tracked, slices: Any) -> None:
    paths = slices(14, announced=14)
    node.came(paths[:13])
    assert node.after(0) is S.RECEIVING
    node.came(paths[13:])
    assert node.after(0) is S.COMPLETE


def test_unknown_count_is_complete_when_settled(node: Tracked, slices: Any) -> None:
    node.came(slices(14))
    assert node.after(0) is S.RECEIVING
    assert node.after(1.9) is S.RECEIVING
    assert node.after(0.2) is S.COMPLETE


def test_every_slice_starts_the_settling_anew(node: Tracked, slices: Any) -> None:
    paths = slices(17)
    node.came(paths[:14])
    for path in paths[14:]:
        assert node.after(1.5) is S.RECEIVING
        node.came([path])
    assert node.after(2.0) is S.COMPLETE
    assert node.journal.series(KEY).instances == 17


def test_missing_slice_is_named_when_it_went_quiet(node: Tracked, slices: Any) -> None:
    paths = slices(20)
    node.came(paths[:9] + paths[10:])
    assert node.after(29) is S.RECEIVING
    assert node.after(1) is S.INCOMPLETE
    assert "1 slice is missing of 20" in node.reason
    assert "10" in node.reason  # z = 10 mm


def test_too_few_of_the_announced_slices_are_counted_when_it_went_quiet(
    node: Tracked, slices: Any
) -> None:
    node.came(slices(14, announced=16))
    assert node.after(29) is S.RECEIVING  # a regular grid alone is not enough
    assert node.after(1) is S.INCOMPLETE
    assert node.reason == "14 of 16 slices have come"


def test_missing_slice_that_comes_late_completes_the_series(node: Tracked, slices: Any) -> None:
    paths = slices(20)
    node.came(paths[:9] + paths[10:])
    assert node.after(30) is S.INCOMPLETE
    node.came([paths[9]])
    assert node.journal.series(KEY).state is S.RECEIVING
    assert node.after(2) is S.COMPLETE


def test_slices_in_any_order_of_two_associations(node: Tracked, slices: Any) -> None:
    paths = slices(14, announced=14)
    for path in [*paths[::2][::-1], *paths[1::2]]:
        node.came([path])
        state = node.after(0)
        assert state is (S.COMPLETE if path is paths[13] else S.RECEIVING)
        node.clock.pass_s(5)
    assert node.after(0) is S.COMPLETE


def test_restart_waits_anew(node: Tracked, slices: Any) -> None:
    """What a kill left over is not complete because it is old."""
    paths = slices(16)
    node.came(paths[:14])  # regular, of unknown count: 2 more are on their way
    node.clock.pass_s(3600)
    node.restart()
    assert node.after(0) is S.RECEIVING
    assert node.after(1.9) is S.RECEIVING
    node.came(paths[14:])
    assert node.after(1) is S.RECEIVING
    assert node.after(1) is S.COMPLETE
    assert node.journal.series(KEY).instances == 16


def test_restart_does_not_call_an_old_gap_incomplete_at_once(node: Tracked, slices: Any) -> None:
    paths = slices(20)
    node.came(paths[:9] + paths[10:])
    node.clock.pass_s(3600)
    node.restart()
    assert node.after(29) is S.RECEIVING
    assert node.after(1) is S.INCOMPLETE


def test_more_slices_than_announced_are_complete_when_settled(node: Tracked, slices: Any) -> None:
    node.came(slices(16, announced=14))
    assert node.after(0) is S.RECEIVING
    assert node.after(2) is S.COMPLETE
    assert node.reason == "16 slices, the headers announce 14"


def test_series_no_rule_can_accept_settles_without_being_regular(
    node: Tracked, slices: Any
) -> None:
    paths = slices(20, MRAcquisitionType="2D")
    node.came(paths[:9] + paths[12:])
    assert node.after(1) is S.RECEIVING
    assert node.after(1) is S.COMPLETE
    assert node.journal.events_of(KEY)[-1].event == "settled_ineligible"


def test_unreadable_object_of_a_series_is_told_and_holds_it_back(
    node: Tracked, slices: Any
) -> None:
    paths = slices(15)
    node.came(paths)
    paths[14].write_bytes(paths[14].read_bytes()[:200])  # truncated after it was acknowledged
    assert node.after(2) is S.RECEIVING
    assert node.after(28) is S.INCOMPLETE
    assert paths[14].name in node.reason


def test_file_that_is_gone_is_told(node: Tracked, slices: Any) -> None:
    (path,) = slices(1)
    node.came([path])
    path.unlink()
    assert node.after(30) is S.INCOMPLETE
    assert path.name in node.reason


def test_slice_between_look_and_decision_wins(node: Tracked, slices: Any, monkeypatch: Any) -> None:
    paths = slices(15)
    node.came(paths[:14])
    original = track.decide

    def slow(*arguments: Any) -> Any:
        node.came([paths[14]])
        return original(*arguments)

    monkeypatch.setattr(track, "decide", slow)
    assert node.after(2) is S.RECEIVING
    monkeypatch.undo()
    assert node.after(2) is S.COMPLETE


def test_each_header_is_read_once_and_the_grid_assembled_when_it_can_be_whole(
    node: Tracked, slices: Any, monkeypatch: Any
) -> None:
    paths = slices(40, announced=40)
    reads, assemblies = [], []
    read, assemble = headers.read, track.assemble
    monkeypatch.setattr(track.headers, "read", lambda p: (reads.append(p), read(p))[1])
    monkeypatch.setattr(track, "assemble", lambda i: (assemblies.append(len(i)), assemble(i))[1])
    for path in paths:
        node.came([path])
        node.after(0.1)
    assert node.journal.series(KEY).state is S.COMPLETE
    assert len(reads) == 2 * len(paths)  # once here for the journal, once by the tracker
    assert assemblies == [40]


def test_waiting_series_costs_one_look_until_something_can_change(
    node: Tracked, slices: Any, monkeypatch: Any
) -> None:
    node.came(slices(13, announced=14))
    looks: list[int] = []
    original = track.decide
    monkeypatch.setattr(track, "decide", lambda *a: (looks.append(1), original(*a))[1])
    for _ in range(19):
        node.after(0.1)
    assert len(looks) == 1


def test_series_without_a_readable_object_waits_and_is_then_told() -> None:
    assert decide([], 0.0, CONFIG, DEFAULT_RULES).event is None
    assert decide([], 30.0, CONFIG, DEFAULT_RULES).event is E.WENT_QUIET


def test_two_series_do_not_wait_for_each_other(node: Tracked, slices: Any) -> None:
    whole = slices(14, announced=14)
    other = slices(20, series="1.2.4", FrameOfReferenceUID="1.2.8")
    node.came([*other[:9], *other[10:], *whole])
    assert node.after(0) is S.COMPLETE
    assert node.journal.series(SeriesKey("1.2.1", "1.2.4")).state is S.RECEIVING
    assert '"series": "1.2.3"' in node.log.getvalue()
    assert "Test^Node" not in node.log.getvalue()
