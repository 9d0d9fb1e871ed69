"""The DICOM file in an answer of WADO-RS."""

from __future__ import annotations

import httpx
import pytest

from node.accept.retrieve_dicomweb import dicom_part

FILE = b"\0" * 128 + b"DICM\r\n\r\n--not-the-boundary\r\nend\r\n"


def answer(content: bytes, kind: str, code: int = 200) -> httpx.Response:
    return httpx.Response(code, content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_file_of_a_multipart_answer_is_taken_whatever_it_holds(quote: str) -> None:
    body = b"--b1\r\nContent-Type: application/dicom\r\nX: y\r\n\r\n" + FILE + b"\r\n--b1--\r\n"
    kind = f'multipart/related; type="application/dicom"; boundary={quote}b1{quote}'
    assert dicom_part(answer(body, kind)) == FILE


def test_a_plain_answer_is_the_file() -> None:
    assert dicom_part(answer(FILE, "application/dicom")) == FILE


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", 'multipart/related; boundary="b1"', 200),
        (b"--b1\r\nno end", 'multipart/related; boundary="b1"', 200),
        (b"<html>", "text/html", 200),
        (FILE, "application/dicom", 404),
        (FILE, "multipart/related", 200),
    ],
)
def test_what_is_no_file_is_none(content: bytes, kind: str, code: int) -> None:
    assert dicom_part(answer(content, kind, code)) is None
