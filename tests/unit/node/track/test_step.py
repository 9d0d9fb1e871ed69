from __future__ import annotations

import errno
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
)

from dicomseg.read import header as headers
from dicomseg.read import parsing
from dicomseg.read.rules import DEFAULT_RULES
from node.config.sections import TrackConfig
from node.event_log import EventLog
from node.journal.instances import InstanceTable
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import SeriesEvent, SeriesState
from node.track import completeness
from node.track import step as track
from node.track.completeness import decide
from node.track.expected_count import ASK_EVERY_S, Inquiry
from node.track.step import TrackStep
from tests.support.mr_series import KEY

S, E = SeriesState, SeriesEvent
CONFIG = TrackConfig(quiet_seconds=30.0, settle_seconds=2.0)


@dataclass
class Tracked:
    """A tracker with its journal; `came` is what receiving does."""

    journal: Journal
    clock: Any
    log: StringIO
    config: TrackConfig = CONFIG

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """What a new process starts with."""
        self.track = TrackStep(
            self.journal, self.config, DEFAULT_RULES, self.clock, EventLog("t", self.log).event
        )

    def came(self, paths: Sequence[Path]) -> None:
        for path in paths:
            one = headers.read_instance(path)
            self.journal.instances.add(
                NewInstance(
                    one.sop_instance_uid, one.sop_class_uid, one.study_uid, one.series_uid,
                    one.digest, one.transfer_syntax_uid, path, 1,
                )
            )  # fmt: skip

    def after(self, seconds: float) -> SeriesState:
        self.clock.pass_s(seconds)
        self.track.run_once()
        return self.journal.series.get(KEY).state

    @property
    def reason(self) -> str:
        return self.journal.series.get(KEY).reason


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
    assert node.journal.series.get(KEY).instances == 17


def test_missing_slice_is_named_when_it_went_quiet(node: Tracked, slices: Any) -> None:
    paths = slices(20)
    node.came(paths[:9] + paths[10:])
    assert node.after(29) is S.RECEIVING
    assert node.after(1) is S.INCOMPLETE
    assert "1 of 20 slices missing" in node.reason
    assert "10" in node.reason  # z = 10 mm


def test_count_that_is_too_high_is_no_dead_end(node: Tracked, slices: Any) -> None:
    node.came(slices(14, announced=16))
    assert node.after(29) is S.RECEIVING  # a regular grid alone is not enough
    assert node.after(1) is S.COMPLETE
    assert node.reason == "received 14 slices, the headers announce 16"


def test_gap_is_a_gap_whatever_is_announced(node: Tracked, slices: Any) -> None:
    paths = slices(20, announced=20)
    node.came([*paths[:9], *paths[10:]])
    assert node.after(30) is S.INCOMPLETE
    assert "1 of 20 slices missing" in node.reason
    assert "received 19 of 20 slices" in node.reason


def test_regular_series_of_unknown_count_waits_to_settle_even_when_that_is_longer(
    node: Tracked, slices: Any
) -> None:
    node.config = TrackConfig(quiet_seconds=5.0, settle_seconds=20.0)
    node.restart()
    node.came(slices(14))
    assert node.after(19) is S.RECEIVING
    assert node.after(1) is S.COMPLETE


def test_missing_slice_that_comes_late_completes_the_series(node: Tracked, slices: Any) -> None:
    paths = slices(20)
    node.came(paths[:9] + paths[10:])
    assert node.after(30) is S.INCOMPLETE
    node.came([paths[9]])
    assert node.journal.series.get(KEY).state is S.RECEIVING
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
    assert node.journal.series.get(KEY).instances == 16


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
    assert node.reason == "received 16 slices, the headers announce 14"


def test_series_no_rule_can_accept_settles_without_being_regular(
    node: Tracked, slices: Any
) -> None:
    paths = slices(20, MRAcquisitionType="2D")
    node.came(paths[:9] + paths[12:])
    assert node.after(1) is S.RECEIVING
    assert node.after(1) is S.COMPLETE
    assert node.journal.series.events(KEY)[-1].event == "settled_ineligible"


def test_unreadable_object_of_a_series_is_told_and_holds_it_back(
    node: Tracked, slices: Any
) -> None:
    paths = slices(15)
    node.came(paths)
    paths[14].write_bytes(paths[14].read_bytes()[:200])  # truncated after it was acknowledged
    assert node.after(2) is S.RECEIVING
    assert node.after(28) is S.INCOMPLETE
    (aside,) = node.journal.instances.quarantined()
    assert (aside.path, aside.reason) == (paths[14], node.reason)


def _many_frames(path: Path, frames: int) -> None:
    """Make it an Enhanced MR object whose frames are describe_error one by one, deflated to next to nothing."""
    ds = dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.NumberOfFrames, ds.BitsAllocated, ds.BitsStored, ds.HighBit = frames, 8, 8, 7
    ds.Rows = ds.Columns = 1
    ds.PixelData = bytes(frames)
    describe_error = []
    for number in range(frames):
        frame, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, number]
        frame.PlanePositionSequence = [plane]
        describe_error.append(frame)
    ds.PerFrameFunctionalGroupsSequence = describe_error
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)


def test_memory_of_headers_is_bounded_by_their_frames(slices: Any, monkeypatch: Any) -> None:
    paths = slices(6)
    for path in paths[:3]:
        _many_frames(path, 80)
    files: list[Path] = []
    read_file = headers.read_instance
    monkeypatch.setattr(
        headers, "read_instance", lambda path: files.append(path) or read_file(path)
    )
    read = track.remembering(22)  # two objects of eighty frames weigh as much
    for path in [*paths[:2], *paths[:2]]:
        read(path)
    assert files == paths[:2]
    for path in [paths[2], paths[1], paths[2], paths[0]]:
        read(path)
    assert files == [*paths[:3], paths[0]]


def test_frames_of_one_series_are_bounded_and_the_others_are_judged(
    node: Tracked, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("node.step.MOST_FRAMES", 200)
    bad = write_series(tmp_path / "a", slices=4)
    for path in bad:
        _many_frames(path, 80)
    node.came([*bad, *write_series(tmp_path / "b", series="1.2.4", ImagesInAcquisition=14)])
    node.after(0)
    assert node.journal.series.get(SeriesKey("1.2.1", "1.2.4")).state is S.COMPLETE
    reasons = [i.reason for i in node.journal.instances.quarantined()]
    assert reasons == ["more than 200 frames in one series; send it in parts"] * 2
    assert len(node.journal.instances.of_series(KEY)) == 2


def test_file_that_is_gone_is_told(node: Tracked, slices: Any) -> None:
    (path,) = slices(1)
    node.came([path])
    path.unlink()
    assert node.after(30) is S.QUARANTINED
    assert node.reason == "cannot be read (No such file or directory); check path and permissions"


def _truncated_deflate(path: Path) -> None:
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-40])


def _columns_of_three_bytes(path: Path) -> None:
    raw, columns = path.read_bytes(), b"\x28\0\x11\0US"
    assert columns + b"\2\0\4\0" in raw
    path.write_bytes(raw.replace(columns + b"\2\0\4\0", columns + b"\3\0\4\0\0"))


def _items_without_end(path: Path) -> None:
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    raw = path.read_bytes()
    item = b"\x08\0\x40\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    path.write_bytes(raw[: parsing.split_file_meta(raw)[0]] + item * 5000)


@pytest.mark.parametrize("spoil", [_truncated_deflate, _columns_of_three_bytes, _items_without_end])
def test_poison_is_set_aside_and_every_series_goes_on(
    node: Tracked, tmp_path: Path, write_series: Any, spoil: Callable[[Path], None]
) -> None:
    good = write_series(tmp_path / "b", series="1.2.4", ImagesInAcquisition=14)
    bad = write_series(tmp_path / "a", slices=15, ImagesInAcquisition=14)
    node.came([*bad, *good])
    spoil(bad[14])
    node.after(0)
    node.after(0)
    assert node.journal.series.get(SeriesKey("1.2.1", "1.2.4")).state is S.COMPLETE
    assert node.journal.series.get(KEY).state is S.COMPLETE
    (aside,) = node.journal.instances.quarantined()
    assert aside.path == bad[14]
    node.restart()
    assert node.track.run_once() == 0


@pytest.mark.parametrize(
    "error",
    [
        zlib.error("x"),
        MemoryError(),
        RecursionError(),
        struct.error("x"),
        AssertionError("Doe^Jane"),
    ],
)
def test_whatever_reading_an_object_raises_is_that_objects_fault(
    node: Tracked, slices: Any, error: Exception
) -> None:
    *rest, bad = slices(15)
    node.came([*rest, bad])

    def read(path: Path) -> Any:
        if path == bad:
            raise error
        return headers.read_instance(path)

    node.track.read = read
    node.after(0)
    assert node.after(2) is S.RECEIVING
    assert node.after(28) is S.INCOMPLETE  # whether it was the last slice is not known
    assert type(error).__name__ in node.reason
    assert "Doe" not in node.reason + node.log.getvalue()
    assert node.log.getvalue().count("ObjectQuarantined") == 1


def test_fault_that_is_not_an_objects_puts_the_series_off_and_no_other(
    node: Tracked, tmp_path: Path, write_series: Any, monkeypatch: Any
) -> None:
    node.came(write_series(tmp_path / "a", ImagesInAcquisition=14))
    node.came(write_series(tmp_path / "b", series="1.2.4", ImagesInAcquisition=14))
    decide, broken = track.decide, [True]

    def sometimes(instances: Any, *rest: Any) -> Any:
        if broken and instances[0].series_uid == "1.2.3":
            raise RuntimeError("Doe^Jane")
        return decide(instances, *rest)

    monkeypatch.setattr(track, "decide", sometimes)
    for _ in range(5):
        node.after(0)
    assert node.journal.series.get(SeriesKey("1.2.1", "1.2.4")).state is S.COMPLETE
    row = node.journal.series.get(KEY)
    assert (row.state, row.fault_step, row.fault_tries) == (S.RECEIVING, "track", 1)
    assert "RuntimeError" in row.fault
    assert node.log.getvalue().count("RowFailed") == 1
    assert "Doe" not in row.fault + node.log.getvalue()
    broken.clear()
    assert node.after(1.5) is S.COMPLETE


def test_too_many_open_files_is_no_fault_of_an_object(node: Tracked, slices: Any) -> None:
    node.came(slices(14, announced=14))
    read = node.track.read

    def none_left(path: Path) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    node.track.read = none_left
    assert node.after(0) is S.RECEIVING
    assert node.journal.instances.quarantined() == []
    node.track.read = read
    assert node.after(1.5) is S.COMPLETE


# ---- the wall clock jumps ------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_clock_that_jumps_neither_delays_nor_hurries(
    node: Tracked, slices: Any, jump_s: float
) -> None:
    paths = slices(20)
    node.came([*paths[:9], *paths[10:]])
    assert node.after(1) is S.RECEIVING
    node.clock.jump_s(jump_s)
    assert node.after(28) is S.RECEIVING
    assert node.after(1) is S.INCOMPLETE
    node.came([paths[9]])
    assert node.after(0.1) is S.RECEIVING
    node.clock.jump_s(-jump_s)
    assert node.after(1.8) is S.RECEIVING
    assert node.after(0.2) is S.COMPLETE


# ---- a count that is asked for -------------------------------------------------------------------


def _asking(node: Tracked, held: int | None) -> list[SeriesKey]:
    node.config = TrackConfig(
        quiet_seconds=30.0, settle_seconds=20.0, expected_count="query", query="pacs"
    )
    node.restart()
    asked: list[SeriesKey] = []
    node.track.held = lambda key, _: (asked.append(key), held)[1]
    return asked


def test_sender_that_holds_no_more_completes_a_series_of_unknown_count(
    node: Tracked, slices: Any
) -> None:
    asked = _asking(node, 14)
    node.came(slices(14))
    assert node.after(1.9) is S.RECEIVING
    assert asked == []  # it may itself still be receiving
    assert node.after(0.2) is S.COMPLETE
    assert asked == [KEY]


def test_sender_that_holds_more_is_waited_for_and_then_named(node: Tracked, slices: Any) -> None:
    _asking(node, 18)
    node.came(slices(12))
    assert node.after(25) is S.RECEIVING  # settled, and yet not complete
    assert node.after(5) is S.INCOMPLETE
    assert node.reason == "6 objects that the sender holds were not received"


def test_sender_that_does_not_answer_changes_nothing(node: Tracked, slices: Any) -> None:
    _asking(node, None)
    node.came(slices(14))
    assert node.after(19) is S.RECEIVING
    assert node.after(1) is S.COMPLETE


def test_sender_that_holds_no_more_ends_the_wait_for_an_announced_count(
    node: Tracked, slices: Any
) -> None:
    _asking(node, 14)
    node.came(slices(14, announced=28))
    assert node.after(2) is S.COMPLETE
    assert node.reason == "received 14 slices, the headers announce 28"


def test_answer_is_for_the_series_as_it_was_when_asked() -> None:
    answer, asked = threading.Event(), []

    class Sender:
        def count(self, study: str, series: str) -> int | None:
            asked.append((study, series))
            assert answer.wait(8)
            return 14

    now = [0.0]
    inquiry = Inquiry(Sender(), lambda: now[0])

    def until(version: int, expected: int | None) -> None:
        limit = time.monotonic() + 8
        while inquiry.held(KEY, version) != expected and time.monotonic() < limit:
            time.sleep(0.01)
        assert inquiry.held(KEY, version) == expected

    assert inquiry.held(KEY, 1) is None  # at once: the tracker never waits
    assert inquiry.held(SeriesKey("1", "2"), 1) is None
    answer.set()
    until(1, 14)
    assert inquiry.held(KEY, 2) is None
    assert len(asked) == 2  # not so soon again
    now[0] += ASK_EVERY_S
    until(2, 14)
    assert len(asked) == 3


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
    read, assemble = headers.read_instance, completeness.assemble
    monkeypatch.setattr(headers, "read_instance", lambda p: (reads.append(p), read(p))[1])
    monkeypatch.setattr(
        completeness, "assemble", lambda i: (assemblies.append(len(i)), assemble(i))[1]
    )
    for path in paths:
        node.came([path])
        node.after(0.1)
    assert node.journal.series.get(KEY).state is S.COMPLETE
    assert len(reads) == 2 * len(paths)  # once here for the journal, once by the tracker
    assert assemblies == [40]


def test_series_that_comes_fast_is_looked_at_in_a_share_of_the_time(
    node: Tracked, slices: Any, monkeypatch: Any
) -> None:
    looks: list[float] = []
    skipped: list[int] = []
    instances_of = InstanceTable.of_series

    def slow(journal: Journal, key: SeriesKey, skip: int = 0) -> Any:
        looks.append(node.clock.monotonic())
        skipped.append(skip)
        node.clock.pass_s(0.1)  # what a look costs
        return instances_of(journal, key, skip)

    monkeypatch.setattr(InstanceTable, "of_series", slow)
    paths = slices(60, announced=60)
    for path in paths:
        node.came([path])
        node.after(0.05)
    assert node.journal.series.get(KEY).state is S.COMPLETE  # the last one was looked at at once
    assert 5 < len(looks) < 12
    assert min(b - a for a, b in pairwise(looks[:-1])) >= 0.5
    # Between the first look and the last one only what is new is read.
    assert skipped == [*sorted(skipped[:-1]), 0]
    assert len(set(skipped[:-1])) == len(looks) - 1


def test_several_series_that_come_at_once_share_that_time(
    node: Tracked, write_series: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    looks: list[float] = []
    instances_of = InstanceTable.of_series

    def slow(journal: Journal, key: SeriesKey, skip: int = 0) -> Any:
        looks.append(node.clock.monotonic())
        node.clock.pass_s(0.1)  # what a look costs
        return instances_of(journal, key, skip)

    monkeypatch.setattr(InstanceTable, "of_series", slow)
    senders = [
        write_series(tmp_path / str(n), series=f"1.2.3{n}", slices=60, ImagesInAcquisition=60)
        for n in range(4)
    ]
    began = node.clock.monotonic()
    for paths in zip(*senders, strict=True):
        node.came(paths)
        node.clock.pass_s(0.05)
        node.track.run_once()
    late = [at for at in looks if at > began + 1]  # each has its first look at once
    assert len(late) * 0.1 < 0.3 * (node.clock.monotonic() - began - 1)


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
    assert node.journal.series.get(SeriesKey("1.2.1", "1.2.4")).state is S.RECEIVING
    assert '"series": "1.2.3"' in node.log.getvalue()
    assert "Test^Node" not in node.log.getvalue()
