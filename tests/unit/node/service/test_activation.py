from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from node.errors import PortBusy
from node.service import activation
from node.service.activation import given_listener

pytestmark = pytest.mark.process  # it listens on a socket


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listening socket in the place of file descriptor 3."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(activation, "FIRST_FD", os.dup(listener.fileno()))
        yield listener


def _environment(count: int = 1, pid: int | None = None) -> dict[str, str]:
    pid = os.getpid() if pid is None else pid
    return {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "LISTEN_FDNAMES": "dicom", "A": "b"}


def test_without_a_manager_there_is_no_socket() -> None:
    assert given_listener({}) is None


def test_socket_for_another_process_is_not_ours() -> None:
    environment = _environment(pid=1)
    assert given_listener(environment) is None
    assert environment == {"A": "b"}


def test_given_socket_accepts_and_is_not_inherited(handed_over: socket.socket) -> None:
    environment = _environment()
    listener = given_listener(environment)
    assert listener is not None
    assert environment == {"A": "b"}
    assert not listener.get_inheritable()
    with socket.create_connection(handed_over.getsockname()):
        link, _ = listener.accept()
        link.close()
    listener.close()


def test_end_of_the_service_leaves_waiting_connections_to_the_next_one(
    handed_over: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = os.dup(handed_over.fileno())
    first = given_listener(_environment())
    assert first is not None
    first.close()
    with socket.create_connection(handed_over.getsockname()) as sender:
        monkeypatch.setattr(activation, "FIRST_FD", spare)
        second = given_listener(_environment())
        assert second is not None
        link, peer = second.accept()
        assert peer == sender.getsockname()
        link.close()
        second.close()


def test_more_than_one_socket_is_refused_with_the_remedy() -> None:
    with pytest.raises(PortBusy, match=r"2 sockets.*one ListenStream="):
        given_listener(_environment(count=2))


def test_socket_that_does_not_listen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as plain:
        monkeypatch.setattr(activation, "FIRST_FD", os.dup(plain.fileno()))
        with pytest.raises(PortBusy, match=r"ListenStream="):
            given_listener(_environment())


def test_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "FIRST_FD", os.open("/dev/null", os.O_RDONLY))
    with pytest.raises(PortBusy, match=r"ListenStream="):
        given_listener(_environment())
    os.close(activation.FIRST_FD)
