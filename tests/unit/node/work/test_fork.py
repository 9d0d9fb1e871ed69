"""Work in copies of this process: the same answers and faults, and no copy that stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.work.fork import Copies

pytestmark = pytest.mark.process


def test_an_answer_comes_from_another_process_while_this_one_works() -> None:
    with Copies() as copies:
        first = copies.run(lambda: (os.getpid(), b"x" * 1_000_000))
        second = copies.run(os.getpid)
        (a, content), b = first(), second()
    assert len({a, b, os.getpid()}) == 3
    assert content == b"x" * 1_000_000


def test_what_the_work_raises_is_raised_here() -> None:
    def fails() -> int:
        raise ValueError("no page")

    with Copies() as copies, pytest.raises(ValueError, match="no page"):
        copies.run(fails)()


def test_a_copy_that_dies_is_done_again_here() -> None:
    here = os.getpid()

    def dies_elsewhere() -> int:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    with Copies() as copies:
        assert copies.run(dies_elsewhere)() == here


def test_half_an_answer_is_none() -> None:
    here = os.getpid()

    class Heavy:
        def __reduce__(self) -> tuple[type, tuple[()]]:
            if os.getpid() != here:
                os._exit(3)  # in the middle of writing
            return Heavy, ()

    with Copies() as copies:
        answer = copies.run(lambda: [b"y" * 200_000, Heavy()])()
    assert answer[0] == b"y" * 200_000


def test_without_room_for_a_copy_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_room)
    with Copies() as copies:
        assert copies.run(os.getpid)() == os.getpid()


def test_copies_that_nobody_asks_are_ended_and_their_pipes_closed() -> None:
    before, began_s = _open_files(), time.monotonic()
    with Copies() as copies:
        copies.run(lambda: time.sleep(60))
        copies.run(lambda: time.sleep(60))
        children = list(copies._running)
        assert _open_files() == before + 2
    assert time.monotonic() - began_s < 10
    assert _open_files() == before
    assert [c for c in children if Path(f"/proc/{c}").exists()] == []


def test_a_copy_ends_with_the_process_that_made_it() -> None:
    program = """
import time
from node.work.fork import Copies
def hang():
    while True:
        pass
with Copies() as copies:
    copies.run(hang)
    print(*copies._running, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as original:
        assert original.stdout is not None
        copy = Path("/proc") / original.stdout.readline().strip()
        assert copy.exists()
        original.kill()
    until_s = time.monotonic() + 10
    while _runs(copy) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not _runs(copy)


def _runs(process: Path) -> bool:
    """Whether a process is neither gone nor a zombie that waits for its new parent."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
