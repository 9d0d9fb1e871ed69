from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from node.deliver import http_request
from node.deliver.http_request import AnswerRefused, ask, limit_s

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server that answers with a byte now and then, for as long as the connection is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65_536)
                peer.sendall(HEAD)
                try:
                    while True:
                        peer.sendall(b" ")
                        time.sleep(0.02)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/studies"
        thread.join(5)


@pytest.mark.process
def test_an_answer_that_trickles_ends_with_the_time_of_the_request(trickle: str) -> None:
    began = time.monotonic()
    with (
        httpx.Client(timeout=2.0, trust_env=False) as client,
        pytest.raises(AnswerRefused, match="does not complete its answer within 0 s"),
    ):
        ask(client, "GET", trickle, 0.2)
    assert time.monotonic() - began < 10


def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_request, "MOST_BYTES", 1024**2)
    read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield bytes(65_536)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=pieces()))
    with (
        httpx.Client(transport=transport) as client,
        pytest.raises(AnswerRefused, match="more than 1 MB"),
    ):
        ask(client, "GET", "http://pacs.invalid/", 5.0)
    assert read == 17


def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = httpx.MockTransport(
        lambda _: httpx.Response(
            200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"bomb")
        )
    )
    with (
        httpx.Client(transport=packed) as client,
        pytest.raises(AnswerRefused, match="compression"),
    ):
        ask(client, "GET", "http://pacs.invalid/", 5.0)


def test_a_large_body_and_a_patient_destination_get_more_time() -> None:
    assert limit_s(30.0) == 150.0
    assert limit_s(30.0, 50_000_000) == 1150.0


def test_of_the_headers_only_those_that_say_when_to_ask_again_are_kept() -> None:
    said = {"Retry-After": "30", "Date": "Tue, 01 Dec 2026 02:00:00 GMT", "X-Patient": "Doe"}
    transport = httpx.MockTransport(lambda _: httpx.Response(503, headers=said))
    with httpx.Client(transport=transport) as client:
        answer = ask(client, "GET", "http://pacs/studies", 5.0)
    assert (answer.headers["Retry-After"], answer.headers["Date"]) == ("30", said["Date"])
    assert "X-Patient" not in answer.headers
