from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from node.errors import AlreadyRunning
from node.store.layout import StateDirectory
from node.store.lock import Holder, is_running, locked, read_holder

HOLDER = Holder(4711, 1_700_000_000.0, "9.8.7", 11112, 1_700_000_009.5)


def test_lock_says_who_holds_it_and_after_the_end_who_held_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert not is_running(state)
    assert read_holder(state) is None
    with locked(state) as lock:
        lock.describe(HOLDER)
        assert is_running(state)
        with pytest.raises(AlreadyRunning), locked(state):
            pass
    assert not is_running(state)
    assert read_holder(state) == HOLDER


def test_longer_description_of_an_earlier_holder_is_gone(tmp_path: Path) -> None:
    StateDirectory(tmp_path).lock.write_text("x" * 500)
    with locked(tmp_path) as lock:
        assert read_holder(tmp_path) is None
        lock.describe(HOLDER)
        assert read_holder(tmp_path) == HOLDER


@pytest.mark.parametrize("content", ["", "noise", "[]", "null", '{"pid": 1}', '{"later": 1}'])
def test_file_without_a_description_is_none(tmp_path: Path, content: str) -> None:
    StateDirectory(tmp_path).lock.write_text(content)
    assert read_holder(tmp_path) is None


def test_full_disk_keeps_no_node_from_running(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(tmp_path) as lock:
        lock.describe(HOLDER)
        assert is_running(tmp_path)


def test_query_at_the_same_moment_refuses_no_start(tmp_path: Path) -> None:
    lock = StateDirectory(tmp_path).lock
    lock.touch()
    query = os.open(lock, os.O_RDONLY)
    fcntl.flock(query, fcntl.LOCK_SH)
    timer = threading.Timer(0.03, os.close, (query,))
    timer.start()
    with locked(tmp_path):
        assert is_running(tmp_path)
    timer.join()
