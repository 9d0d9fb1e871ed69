"""The quick walk says nothing that the careful one does not say, whatever the bytes are."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.receive.leading_elements import LONG, SHORT, lead
from node.receive.structure import survey, survey_head

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "60"))
SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_TAGS: Final = (
    (0x0008, 0x0016), (0x0008, 0x0018), (0x0008, 0x1140), (0x0020, 0x000D), (0x0020, 0x000E), (0x0028, 0x0010),
    (0x0029, 0x1010), (0x5200, 0x9230), (0x7FE0, 0x0010), (0xFFFC, 0xFFFC), (0xFFFE, 0xE000),
)  # fmt: skip
_UNDEFINED: Final = 0xFFFFFFFF


def _plain(group: int, number: int, vr: bytes, value: bytes, declared: int) -> bytes:
    """One element in Explicit VR; declared: what is added to its length."""
    if vr in LONG:
        return struct.pack("<HH2sHI", group, number, vr, 0, max(0, len(value) + declared)) + value
    length = min(0xFFFF, max(0, len(value) + declared))
    return struct.pack("<HH2sH", group, number, vr, length) + value


def _implicit(group: int, number: int, _vr: bytes, value: bytes, declared: int) -> bytes:
    return struct.pack("<HHI", group, number, max(0, len(value) + declared)) + value


def _sequence(implicit: bool, items: list[bytes], closed: bool, defined: bool) -> bytes:
    head = (
        struct.pack("<HHI", 8, 0x1140, _UNDEFINED)
        if implicit
        else struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, _UNDEFINED)
    )
    inside = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(i) if defined else _UNDEFINED)
        + i
        + (b"" if defined else struct.pack("<HHI", 0xFFFE, 0xE00D, 0))
        for i in items
    )
    return head + inside + (struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if closed else b"")


def _data_sets(implicit: bool) -> st.SearchStrategy[bytes]:
    make = _implicit if implicit else _plain
    declared = st.sampled_from((0, 0, 0, 0, 0, 1, 2, -1, 1 << 16, 1 << 31))
    element = st.builds(
        lambda tag, vr, value, more: make(*tag, vr, value, more),
        st.sampled_from(_TAGS),
        st.sampled_from([*sorted(SHORT | LONG), b"ZZ", b"\0\0"]),
        st.binary(max_size=12),
        declared,
    )
    plain = st.lists(element, max_size=4).map(b"".join)
    nested = st.recursive(
        plain,
        lambda inner: st.builds(
            lambda items, closed, defined: _sequence(implicit, items, closed, defined),
            st.lists(inner, max_size=3),
            st.sampled_from((True, True, True, False)),
            st.booleans(),
        ),
        max_leaves=6,
    )
    junk = st.one_of(st.just(b""), st.just(b"\0\0\0"), st.binary(max_size=10))
    return st.builds(lambda parts, end: b"".join(parts) + end, st.lists(nested, max_size=5), junk)


@given(
    st.sampled_from(SYNTAXES).flatmap(
        lambda s: st.tuples(st.just(s), _data_sets(s == ImplicitVRLittleEndian))
    ),
    st.integers(0, 200),
)
@example((ExplicitVRLittleEndian, b""), 0)
@settings(max_examples=EXAMPLES, deadline=None)
def test_both_walks_agree_wherever_the_quick_one_stops(
    given_: tuple[str, bytes], held: int
) -> None:
    syntax, data = given_
    careful = survey(BytesIO(data), len(data), syntax, 1 << 20)
    for head in (data, data[:held]):
        leading = survey_head(head, len(data), syntax)
        assert survey(BytesIO(data), len(data), syntax, 1 << 20, leading) == careful
        if leading.at == len(data):  # what the receiver takes for the complete answer
            assert careful.fault == ""
            assert {k: v for k, v in careful.uids.items() if v} == {
                k: v for k, v in leading.uids.items() if v
            }
            assert leading.pixels_at == careful.pixels_at


@given(st.binary(max_size=400))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_are_walked_over_the_same_way(data: bytes) -> None:
    for syntax in SYNTAXES:
        leading = survey_head(data, len(data), syntax)
        careful = survey(BytesIO(data), len(data), syntax, 1 << 20)
        assert survey(BytesIO(data), len(data), syntax, 1 << 20, leading) == careful


def test_a_classic_image_is_walked_over_in_its_first_bytes() -> None:
    nested = _sequence(False, [_plain(8, 0x1150, b"UI", b"1.2 ", 0)], True, False)
    data = b"".join(
        (
            _plain(8, 0x16, b"UI", b"1.2.840\0", 0),
            nested,
            _plain(0x20, 0x0D, b"UI", b"1.2.3\0", 0),
            _plain(0x7FE0, 0x10, b"OW", bytes(5000), 0),
        )
    )
    leading = lead(data[:200], len(data), implicit=False)
    assert leading.at == len(data)
    assert leading.uids == {"SOPClassUID": "1.2.840", "StudyInstanceUID": "1.2.3"}
    assert leading.pixels_at == len(data) - 5012


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (_plain(8, 0x18, b"UI", b"1.2\0", 1 << 15), 0),
        (_plain(0x28, 0x10, b"US", b"\0\1\2", 0), 0),
        (struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, _UNDEFINED), 0),
        (struct.pack("<HHI", 0xFFFE, 0xE00D, 0), 0),
        (_sequence(False, [b"junk"], True, False), 0),
        (_sequence(False, [_sequence(False, [], True, False)], False, False), 0),
    ],
)
def test_what_is_not_plain_is_left_to_the_careful_walk(data: bytes, at: int) -> None:
    assert lead(data, len(data), implicit=False).at == at
