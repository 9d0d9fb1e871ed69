"""Fetched objects are kept as received ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.events import Event
from node.journal.journal import Journal
from node.receive.intake import Fetched, Intake
from node.receive.keep import Keeper
from node.receive.limits import Unfinished
from node.store.spool import Spool
from tests.support.mr_series import WriteSeries
from tests.support.senders import data_set_of

FETCHED = Fetched("1.2.1", MRImageStorage, "1.2.3.1", ExplicitVRLittleEndian, "PACS")


@pytest.fixture
def data(tmp_path: Path, write_series: WriteSeries) -> bytes:
    return data_set_of(write_series(tmp_path / "in", slices=1)[0])


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Intake, Journal, list[Event]]]:
    def build(largest: int = 1 << 20, room: str = "") -> tuple[Intake, Journal, list[Event]]:
        spool, events = Spool(tmp_path / "state"), list[Event]()
        journal = Journal.open(tmp_path / "state" / "journal.sqlite", lambda: 0.0)
        keeper = Keeper(spool, journal, largest, events.append)
        unfinished = Unfinished(1 << 20)
        return (
            Intake(spool, keeper, unfinished, largest, lambda: room, events.append),
            journal,
            events,
        )

    return build


def test_an_object_is_stored_with_its_sender_and_its_bytes(make: Callable[..., tuple[Intake, Journal, list[Event]]], data: bytes) -> None:  # fmt: skip
    intake, journal, events = make()
    assert intake.take(FETCHED, [memoryview(data[:50]), memoryview(data[50:])]) == ""
    (row,) = journal.instances.named("1.2.3.1")
    assert (row.state, row.calling_ae, data_set_of(row.path)) == ("stored", "PACS", data)
    assert events == []
    assert intake.unfinished.total == 0


@pytest.mark.parametrize(
    ("largest", "room", "study", "said"),
    [
        (100, "", "1.2.1", "max_object_mb"),
        (1 << 20, "no space", "1.2.1", "no space"),
        (1 << 20, "", "1.2.9", "another study"),
    ],
)
def test_what_is_not_kept_leaves_nothing(
    largest: int, room: str, study: str, said: str,
    make: Callable[..., tuple[Intake, Journal, list[Event]]], data: bytes, tmp_path: Path,
) -> None:  # fmt: skip
    intake, journal, events = make(largest, room)
    fetched = Fetched(study, *(getattr(FETCHED, k) for k in ("sop_class", "sop_instance", "transfer_syntax", "sender")))  # fmt: skip
    assert said in intake.take(fetched, [memoryview(data)])
    assert journal.instances.named("1.2.3.1") == []
    assert [type(e).__name__ for e in events] == ["ObjectRefused"]
    assert not list((tmp_path / "state").rglob("*.part"))
    assert intake.unfinished.total == 0
