"""The reader of system calls: the right order passes, each wrong one is named."""

from __future__ import annotations

import pytest

from tests.fault.calls import complaints

ACCEPT = '7 sendto(9<socket:[1]>, "\\2\\0\\0\\0\\0\\264\\0\\1", 186, 0, NULL, 0) = 186'
BYTES = "7 fdatasync(11</s/spool/aa.part>) = 0"
NAME = '7 rename("/s/spool/aa.part", "/s/spool/b0/b0cd.dcm") = 0'
FOLDER = "7 fsync(12</s/spool/b0>)              = 0"
JOURNAL = "8 fdatasync(6</s/journal.sqlite-wal>) = 0"
ANSWER = '7 sendto(9<socket:[1]>, "\\4\\0\\0\\0\\0\\204\\0\\0"..., 138, 0, NULL, 0) = 138'


def _judged(*lines: str) -> tuple[int, list[str]]:
    return complaints("\n".join((ACCEPT, *lines)))


def test_the_right_order_passes() -> None:
    once = (BYTES, NAME, FOLDER, JOURNAL, ANSWER)
    assert _judged(*once, *once) == (2, [])


def test_a_call_counts_when_it_has_returned() -> None:
    begun = "8 fdatasync(6</s/journal.sqlite-wal> <unfinished ...>"
    ended = "8 <... fdatasync resumed>) = 0"
    assert _judged(BYTES, NAME, FOLDER, begun, ended, ANSWER) == (1, [])
    sending = ANSWER.replace(") = 138", " <unfinished ...>")
    assert (
        _judged(BYTES, NAME, FOLDER, begun, ended, sending, "7 <... sendto resumed>) = 138")[0] == 1
    )
    _, found = _judged(BYTES, NAME, FOLDER, begun, ANSWER, ended)
    assert found == ["answer 1: the journal was not synchronised after the folder"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ((NAME, BYTES, FOLDER, JOURNAL, ANSWER), "bytes were not synchronised before the rename"),
        ((BYTES, NAME, JOURNAL, ANSWER), "folder was not synchronised"),
        ((BYTES, NAME, JOURNAL, FOLDER, ANSWER), "journal was not synchronised after the folder"),
        ((BYTES, NAME, FOLDER, ANSWER), "journal was not synchronised"),
        ((JOURNAL, ANSWER), "no file got its name"),
    ],
)
def test_every_other_order_is_named(lines: tuple[str, ...], sentence: str) -> None:
    answers, found = _judged(*lines)
    assert answers == 1
    assert any(sentence in f for f in found)
