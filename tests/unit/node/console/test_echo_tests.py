"""Tests of destinations in the background: side by side, with an end, and with the last answer kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from node.console.echo_tests import EchoTests
from node.deliver.echo import EchoResult
from node.errors import IllegalTransition, PeerUnreachable


def _until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_answers_come_one_by_one_and_each_changes_the_version() -> None:
    tests, go = EchoTests(lambda: 5.0), threading.Event()

    def slow() -> EchoResult:
        go.wait(10)
        return EchoResult("slow", True, "answers late")

    tests.start({"quick": lambda: EchoResult("quick", True, "answers"), "slow": slow})
    _until(lambda: not tests.found()["quick"].is_running)
    assert tests.found()["slow"].is_running
    between = tests.version
    with pytest.raises(IllegalTransition):
        tests.start({"slow": slow})
    # The one that has answered may be asked again meanwhile.
    tests.start({"quick": lambda: EchoResult("quick", False, "gone"), "slow": slow})
    go.set()
    _until(lambda: tests.found()["slow"].result is not None)
    _until(lambda: tests.found()["quick"].result == EchoResult("quick", False, "gone"))
    assert tests.version > between


def test_a_destination_that_never_answers_is_given_up_and_may_still_answer() -> None:
    tests, go = EchoTests(limit_s=0.2), threading.Event()

    def dead() -> EchoResult:
        go.wait(10)
        return EchoResult("dead", True, "back")

    tests.start({"dead": dead})
    _until(lambda: bool(tests.found()["dead"].fault))
    assert tests.found()["dead"].fault == "no answer within 0 s"
    with pytest.raises(IllegalTransition):  # its thread still waits: no second one beside it
        tests.start({"dead": dead})
    go.set()
    _until(lambda: tests.found()["dead"].result is not None)


def test_a_fault_is_a_sentence_without_what_it_may_quote() -> None:
    tests = EchoTests()

    def refuse() -> EchoResult:
        raise PeerUnreachable("pacs: certificate ended")

    def broken() -> EchoResult:
        raise ValueError("Authorization: Bearer secret")

    tests.start({"a": refuse, "b": broken})
    _until(lambda: not any(t.is_running for t in tests.found().values()))
    assert tests.found()["a"].fault == "pacs: certificate ended"
    assert tests.found()["b"].fault == "unexpected ValueError; check its configuration"
