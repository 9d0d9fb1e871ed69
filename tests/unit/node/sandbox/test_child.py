"""A question whose process ends by itself is at fault; one whose process is killed from outside is not."""

from __future__ import annotations

import errno
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from node.sandbox import child
from node.sandbox.child import Child, Silence

pytestmark = pytest.mark.process


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: Any) -> Any:
    """A child that ends in a given way as often as the question says, and counts its starts."""
    monkeypatch.setattr(child, "_PAUSES_S", (0.0,) * 4)
    (tmp_path / "module_that_ends.py").write_text(
        textwrap.dedent("""
            import json, os, pathlib, sys
            starts = pathlib.Path(__file__).with_name("starts")
            number = int(starts.read_text()) + 1 if starts.exists() else 1
            starts.write_text(str(number))
            for line in sys.stdin:
                kind, value, times = json.loads(line)
                if number <= times:
                    os.kill(os.getpid(), value) if kind == "signal" else os._exit(value)
                print(json.dumps(number), flush=True)
        """)
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    made = Child("module_that_ends", 20.0)
    yield made
    made.close()


def test_answer_comes_from_the_fifth_process_where_four_were_killed(ends: Any) -> None:
    assert ends.ask(["signal", 9, 4]) == 5


def test_nothing_is_known_of_a_question_where_every_process_is_killed(ends: Any) -> None:
    with pytest.raises(OSError, match="module_that_ends was killed again and again") as error:
        ends.ask(["signal", 9, 99])
    assert error.value.errno == errno.ENOMEM
    assert ends.ask(["signal", 9, 0]) == 6  # the next question has a process again


@pytest.mark.parametrize("end", [("signal", 11), ("exit", 1)])
def test_question_that_ends_two_processes_by_itself_is_at_fault(ends: Any, end: Any) -> None:
    assert ends.ask([*end, 99]) == Silence("ended")
    assert ends.ask([*end, 0]) == 3


def test_one_end_may_be_the_fault_of_the_question_before(ends: Any) -> None:
    assert ends.ask(["exit", 1, 1]) == 2


def test_process_that_says_nothing_is_late_once(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "module_that_waits.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    assert Child("module_that_waits", 0.3).ask(["x"]) == Silence("late")


@pytest.mark.parametrize(
    ("state", "worked_s", "expected"),
    [
        ("R", 0.1, "answered"),  # others hold the processor
        ("D", 0.1, "answered"),  # others hold the disk
        ("S", 0.1, "late"),
        ("R", 9.0, "late"),
        ("-", 0.0, "late"),
    ],
)
def test_process_that_is_not_let_work_has_more_time(
    tmp_path: Path, monkeypatch: Any, state: str, worked_s: float, expected: str
) -> None:
    (tmp_path / "module_that_is_slow.py").write_text(
        "import sys, time\nfor line in sys.stdin: time.sleep(0.4); print('1', flush=True)"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    made = Child("module_that_is_slow", 20.0)
    try:
        assert made.ask(1) == 1  # it is there
        looks = iter([(state, 0.0)])
        monkeypatch.setattr(child, "_look", lambda _: next(looks, (state, worked_s)))
        made._most_s = 0.2
        assert made.ask(1) == (1 if expected == "answered" else Silence("late"))
    finally:
        made.close()


def test_state_and_processor_time_of_a_process_are_those_of_the_system() -> None:
    state, worked_s = child._look(os.getpid())
    assert state == "R"
    assert worked_s > 0
    assert child._look(1 << 30) == ("-", 0.0)
