"""Parts of a multipart body, however the network cuts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.pull.multipart import (
    LONGEST_HEADERS,
    LONGEST_REST,
    Multipart,
    MultipartError,
    boundary_of,
)

PARTS = (b"one", b"", b"\r\n--not\r\n", b"--b", b"\r\n-", bytes(range(256)))
BODY = b"".join(b"--b\r\nContent-Type: x\r\n\r\n" + p + b"\r\n" for p in PARTS) + b"--b--\r\nend"


def _cut(body: bytes, size: int) -> Iterator[bytes]:
    return (body[n : n + size] for n in range(0, len(body), size))


def _read(chunks: Iterator[bytes], boundary: bytes = b"b") -> list[bytes]:
    parts, found = Multipart(chunks, boundary), []
    while parts.next_part():
        found.append(b"".join(iter(parts.read, b"")))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 10_000])
def test_parts_are_the_same_however_they_are_cut(size: int) -> None:
    assert tuple(_read(_cut(BODY, size))) == PARTS


def test_an_unread_part_is_passed_over() -> None:
    parts = Multipart(_cut(BODY, 3), b"b")
    assert [parts.next_part() for _ in range(len(PARTS) + 2)] == [True] * len(PARTS) + [False] * 2


def test_a_preamble_is_passed_over_and_empty_headers_are_allowed() -> None:
    assert _read(iter([b"hello\r\n--b\r\n\r\nX\r\n--b--"])) == [b"X"]


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([b"--b\r\n\r\ncut"], "within a part"),
        ([], "within a part"),
        ([b"x" * (LONGEST_HEADERS + 10)] * 3, "without the boundary"),
        ([b"--b\r\nX: " + b"y" * (LONGEST_HEADERS + 10)] * 3, "headers do not end"),
    ],
)
def test_what_is_not_multipart_is_refused(chunks: list[bytes], said: str) -> None:
    with pytest.raises(MultipartError, match=said):
        _read(iter(chunks))


def test_a_part_that_is_passed_over_has_a_limit() -> None:
    parts = Multipart(
        iter([b"--b\r\n\r\n", *[bytes(1 << 22)] * (LONGEST_REST // (1 << 22) + 2)]), b"b"
    )
    assert parts.next_part()
    with pytest.raises(MultipartError, match="longer"):
        parts.next_part()


def test_the_boundary_is_that_of_the_content_type() -> None:
    assert boundary_of('multipart/related; type="application/dicom"; boundary="a b"') == b"a b"
    assert boundary_of("multipart/related; boundary=xyz; type=z") == b"xyz"
    for wrong in ("text/html", "multipart/related; boundary=", f"m; boundary={'x' * 300}"):
        with pytest.raises(MultipartError):
            boundary_of(wrong)
