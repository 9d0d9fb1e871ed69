"""Any bytes are a request, a value, a command, or `Malformed`: nothing else is raised, and nothing is read past the end."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.receive import dimse, wire
from node.receive.wire import Malformed
from tests.support.raw_peer import RawPeer

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "60"))
_REQUEST: Final = RawPeer.request(("1.2.840.10008.5.1.4.1.1.4", ("1.2.840.10008.1.2.1", "1.2")))[6:]
_COMMAND: Final = RawPeer.command(1, sop_class="1.2.840.10008.5.1.4.1.1.4", sop_instance="1.2.3")


@st.composite
def _spoilt(draw: Any, valid: bytes) -> bytes:
    """Valid bytes, cut, with some bytes replaced or repeated."""
    raw = bytearray(valid)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                raw[at : at + 4] = draw(
                    st.sampled_from((b"\xff\xff\xff\xff", bytes(4), b"\xff\xff"))
                )
            case 2:
                del raw[at:]
            case _:
                raw[at:at] = raw[at : at + draw(st.integers(0, 40))]
    return bytes(raw)


def _only_malformed(read: Callable[[bytes], object], raw: bytes) -> None:
    with contextlib.suppress(Malformed):
        read(raw)


@given(st.one_of(st.binary(max_size=300), _spoilt(_REQUEST)))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_are_a_request_or_malformed(raw: bytes) -> None:
    _only_malformed(wire.request, raw)


@given(st.one_of(st.binary(max_size=200), _spoilt(_COMMAND)))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_are_a_command_or_malformed(raw: bytes) -> None:
    _only_malformed(dimse.command, raw)


@given(st.one_of(st.binary(max_size=200), _spoilt(RawPeer.fragment(2, b"abcdef")[6:])))
@settings(max_examples=EXAMPLES, deadline=None)
def test_values_of_a_pdu_lie_within_it(raw: bytes) -> None:
    try:
        values = list(wire.fragments(memoryview(raw)))
    except Malformed:
        return
    assert sum(6 + len(fragment) for _, _, fragment in values) == len(raw)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=50)),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_values_come_back_as_they_were_written(values: list[tuple[int, int, bytes]]) -> None:
    body = b"".join(struct.pack(">IBB", len(v) + 2, c, k) + v for c, k, v in values)
    read = [(c, k, bytes(v)) for c, k, v in wire.fragments(memoryview(body))]
    assert read == values


def test_request_without_a_change_is_read() -> None:
    asked = wire.request(_REQUEST)
    assert (asked.called, asked.calling) == ("NODE", "RAW")
    assert asked.contexts[0].transfer_syntaxes == ("1.2.840.10008.1.2.1", "1.2")


@pytest.mark.parametrize("status", [0, 0xA700])
def test_response_is_a_command_of_the_same_message(status: int) -> None:
    asked = dimse.command(_COMMAND)
    raw = dimse.response(1, asked, status, "why")
    kind, length = wire.header(raw[:6])
    assert (kind, length) == (wire.P_DATA, len(raw) - 6)
    ((context, control, fragment),) = wire.fragments(memoryview(raw)[6:])
    assert (context, control) == (1, 3)
    answered = dimse.command(bytes(fragment))
    assert answered.field == asked.field | dimse.RESPONSE
    assert (answered.sop_instance, answered.has_data) == ("1.2.3", False)
    assert struct.pack("<HHIH", 0, 0x0900, 2, status) in bytes(fragment)
