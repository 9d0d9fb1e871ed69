from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.service.notify import Notifier

pytestmark = pytest.mark.process  # it binds a socket


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(2)
        yield manager


def test_without_a_manager_nothing_is_sent() -> None:
    notifier = Notifier.of({})
    notifier.tell("READY=1")
    assert (notifier.address, notifier.watchdog_s) == ("", 0.0)


def test_states_go_in_one_message(heard: socket.socket) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": heard.getsockname()})
    notifier.tell("READY=1", "STATUS=listening")
    assert heard.recv(4096) == b"READY=1\nSTATUS=listening"


def test_abstract_sockets_are_reached() -> None:
    name = f"lumbar-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(2)
        Notifier.of({"NOTIFY_SOCKET": f"@{name}"}).tell("STOPPING=1")
        assert manager.recv(100) == b"STOPPING=1"


def test_children_do_not_inherit_the_socket_or_the_watchdog(heard: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": heard.getsockname(),
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    assert Notifier.of(environment).watchdog_s == 60.0
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("60000000", "", 60.0), ("60000000", "1", 0.0), ("none", "", 0.0), ("", "", 0.0)],
)
def test_watchdog_of_another_process_or_without_a_number_is_none(
    usec: str, pid: str, seconds: float
) -> None:
    environment = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert Notifier.of(environment).watchdog_s == seconds


def test_manager_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")


def test_status_is_one_line_and_sent_when_it_changes(heard: socket.socket) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": heard.getsockname()})
    notifier.describe("listening\nREADY=1")
    notifier.describe("listening\nREADY=1")
    notifier.describe("stopping")
    assert heard.recv(100) == b"STATUS=listening READY=1"
    assert heard.recv(100) == b"STATUS=stopping"


def test_long_start_asks_for_more_time_until_it_has_ended(heard: socket.socket) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": heard.getsockname()})
    with notifier.long_start("checking files", every_s=0.02):
        assert heard.recv(100) == b"STATUS=checking files"
        assert heard.recv(100) == b"EXTEND_TIMEOUT_USEC=120000000"
        assert heard.recv(100) == b"EXTEND_TIMEOUT_USEC=120000000"
    assert "start-up" not in {t.name for t in threading.enumerate()}
