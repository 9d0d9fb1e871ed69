"""Bytes come in order, whatever their pieces; waiting ends at the deadline."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from node.receive.limits import Pace
from node.receive.message import AssociationEnd
from node.receive.stream import READ_AHEAD, PeerStream


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def _stream(link: socket.socket, left_s: float = 5.0) -> PeerStream:
    ends_at = time.monotonic() + left_s
    late = AssociationEnd("aborted", "late")
    return PeerStream(link, Pace(4000.0), lambda: ends_at - time.monotonic(), lambda: late)


def test_pieces_of_any_size_come_back_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    draw = random.Random(1)
    sent = draw.randbytes(3 * READ_AHEAD)

    def send() -> None:
        at = 0
        while at < len(sent):
            size = draw.choice((1, 5, 100, 70_000))
            theirs.sendall(sent[at : at + size])
            at += size

    writer = threading.Thread(target=send)
    writer.start()
    stream, taken, reads = _stream(ours), bytearray(), random.Random(2)
    while len(taken) < len(sent):
        if len(taken) > READ_AHEAD:
            stream.read_ahead()
        assert stream.peek("gone") == sent[len(taken)]
        size = min(reads.choice((1, 6, 500, 131_072)), len(sent) - len(taken))
        taken += stream.take(size, "gone")
    writer.join()
    assert bytes(taken) == sent
    assert stream.buffered == 0


def test_end_of_the_peer_and_of_the_time_have_their_reasons(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"abc")
    assert bytes(_stream(ours).take(2, "gone")) == b"ab"
    with pytest.raises(AssociationEnd, match="late"):
        _stream(ours, 0.05).take(10, "gone")
    theirs.close()
    with pytest.raises(AssociationEnd, match="gone"):
        _stream(ours).take(1, "gone")
