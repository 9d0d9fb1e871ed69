"""Answers of a peer reach the call that asked for them, however the library's own thread is scheduled."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SegmentationStorage,
)

from node.deliver.dicom import Pacs
from tests.support.parcels import FILES, UIDS, files_of, write_result
from tests.support.peers import Peer, pacs


class LateEvent(threading.Event):
    """Lets its waiter go on a little late, as on a busy machine."""

    def wait(self, timeout: float | None = None) -> bool:
        done = super().wait(timeout)
        time.sleep(0.02)
        return done


@pytest.fixture
def _late_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between passing the checkpoint and looking for a message, the thread of every association sleeps."""
    made = Association.__init__

    def make(self: Any, *arguments: Any, **more: Any) -> None:
        made(self, *arguments, **more)
        self._reactor_checkpoint = LateEvent()
        self._reactor_checkpoint.set()

    monkeypatch.setattr(Association, "__init__", make)


@pytest.mark.usefixtures("_late_thread")
def test_no_answer_is_lost_to_the_thread_of_an_association(tmp_path: Path) -> None:
    write_result(tmp_path / "seg.dcm", SegmentationStorage, UIDS["seg.dcm"])
    write_result(tmp_path / "measurements.dcm", ComprehensiveSRStorage, UIDS["measurements.dcm"])
    files = files_of(tmp_path, FILES)
    with pacs(Peer()) as port:
        peer = Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 2.0)
        for _ in range(5):
            assert [o.status for o in peer.send(files * 3)] == ["0x0000"] * 6
            assert peer.verify_stored(files * 3).value == "stored"
