"""Limits on what a source sends over one association."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from node.pull.guard import MOST_PDU, Ended, Guard


class _Time:
    now = 0.0

    def __call__(self) -> float:
        self.now += 0.3
        return self.now


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _guard(most: int = 100, limit_s: float = 60.0, silent_s: float = 30.0, *, stopped: bool = False) -> Guard:  # fmt: skip
    return Guard(most, limit_s, silent_s, lambda: stopped, _Time())


def test_bytes_come_in_full_and_fewer_where_the_peer_closes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"abcdef")
    guard = _guard()
    assert guard.read(ours, 4) == b"abcd"
    theirs.close()
    assert guard.read(ours, 4) == b"ef"
    assert guard.reason == ""


def test_what_was_dealt_with_makes_room(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    guard = _guard(most=100)
    for _ in range(5):
        theirs.sendall(bytes(90))
        guard.read(ours, 90)
        guard.done(90)
    theirs.sendall(bytes(120))
    with pytest.raises(Ended, match="in one go"):
        guard.read(ours, 120)
    assert "in one go" in guard.reason


def test_a_pdu_has_a_largest_size(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(Ended, match="PDU"):
        _guard().read(pair[0], MOST_PDU + 1)


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        (_guard(limit_s=0.1), "not ready within"),
        (_guard(silent_s=0.1), "silent"),
        (_guard(stopped=True), "the node stops"),
    ],
)
def test_silence_time_and_stop_end_a_message(
    guard: Guard, said: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    with pytest.raises(Ended, match=said):
        guard.read(pair[0], 10)
    assert said in guard.reason
