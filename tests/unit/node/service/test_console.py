"""The console's process is kept running, and what is wrong with it costs nothing else."""

from __future__ import annotations

import json
import sys
import time
from io import StringIO
from typing import Any

import pytest

from node.clock import Clock
from node.config.web import WebConfig
from node.event_log import EventLog
from node.service import console
from node.service.console import FIRST_S, ConsoleStep

pytestmark = pytest.mark.process


class Now:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


def _step(port: int, monkeypatch: pytest.MonkeyPatch, script: str) -> tuple[ConsoleStep, Now, StringIO]:  # fmt: skip
    real, now, out = console.subprocess.Popen, Now(), StringIO()

    def start(_: Any, **options: Any) -> Any:
        return real([sys.executable, "-S", "-c", script], **options)

    monkeypatch.setattr(console.subprocess, "Popen", start)
    clock = Clock(monotonic=now)
    return ConsoleStep(WebConfig(port=port), None, clock, EventLog("t", out)), now, out


def _ended(step: ConsoleStep) -> None:
    deadline = time.monotonic() + 20
    while step._child is not None and step._child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_runs_without_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    step, _, _ = _step(0, monkeypatch, "")
    with step:
        assert step.run_once() == 0


def test_it_ends_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    step, _, _ = _step(8080, monkeypatch, "import sys; sys.stdin.read()")
    with step:
        assert step.run_once() == 1
        assert step.run_once() == 0
        child = step._child
    assert child is not None
    assert child.returncode == 0


def test_one_that_ends_at_once_is_started_again_after_a_wait_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, now, out = _step(8080, monkeypatch, "raise SystemExit(3)")
    with step:
        step.run_once()
        for n in range(1, 4):
            _ended(step)
            assert step.run_once() == 0
            now.at += FIRST_S * 2 ** (n - 1) - 0.01
            assert step.run_once() == 0
            now.at += 0.02
            assert step.run_once() == 1
    ends = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(e["event"], e["exit_code"], e["ends"], e["wait_s"]) for e in ends] == [
        ("ConsoleEnded", 3, 1, 1.0), ("ConsoleEnded", 3, 2, 2.0), ("ConsoleEnded", 3, 3, 4.0),
    ]  # fmt: skip


def test_its_events_are_passed_on_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'import sys; sys.stderr.write("GET /?patient=Meier\\n{\\"event\\": \\"ConsoleStarted\\", \\"port\\": 1}\\n[]\\n")'
    step, _, out = _step(8080, monkeypatch, script)
    with step:
        step.run_once()
        _ended(step)
        deadline = time.monotonic() + 10
        while "ConsoleStarted" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["ConsoleStarted"]
    assert "Meier" not in out.getvalue()
