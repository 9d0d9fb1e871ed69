"""The DICOM upper layer and DIMSE as bytes (PS3.8 section 9.3, PS3.7 section 9.3): pure, without sockets.

Only what an acceptor of C-STORE and C-ECHO reads and writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 1, 2, 3
P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 4, 5, 6, 7
HEADER_BYTES: Final = 6
MAX_PDU: Final = 131_072
"""Largest PDU that is announced to the peer, in bytes."""
LARGEST_PDU: Final = 1 << 20
"""Largest PDU that is read: some peers exceed what was announced; beyond a megabyte it is no PDU."""

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLossless, RLELossless,
    DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian,
    JPEG2000, JPEGLSNearLossless, JPEGExtended12Bit, JPEGBaseline8Bit,
)  # fmt: skip
"""In our order of preference, which decides: explicit first, since implicit loses private VRs; those
that may lose pixels last, so that a sender that offers both does not compress for us."""

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ, RESPONSE = 0x0001, 0x0030, 0x0FFF, 0x8000
_NO_DATA_SET: Final = 0x0101

Refusal = tuple[int, int, int]
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
NO_REASON: Final[Refusal] = (1, 1, 1)
NO_APPLICATION_CONTEXT: Final[Refusal] = (1, 1, 2)
CALLING_UNKNOWN: Final[Refusal] = (1, 1, 3)
CALLED_UNKNOWN: Final[Refusal] = (1, 1, 7)
NO_PROTOCOL_VERSION: Final[Refusal] = (1, 2, 2)
CONGESTION: Final[Refusal] = (2, 3, 1)
LOCAL_LIMIT: Final[Refusal] = (2, 3, 2)

NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0, 1, 2, 6
"""Reasons of an A-ABORT by the service provider (PS3.8 section 9.3.8)."""


class Malformed(Exception):
    """The peer's bytes are no PDU, request or message; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """One proposed presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ; AE titles without their padding."""

    version: int
    called: str
    calling: str
    application_context: str
    contexts: tuple[Proposed, ...]
    titles: bytes
    """The 64 bytes of titles and reserved field, sent back as they came."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command set of one DIMSE request."""

    field: int
    message_id: int
    sop_class: str
    sop_instance: str
    has_data: bool


def header(raw: bytes | memoryview) -> tuple[int, int]:
    """Return the type and length of a PDU from its first six bytes."""
    kind, length = struct.unpack(">BxI", raw)
    return int(kind), int(length)


def title(raw: bytes) -> str:
    """Return an AE title without padding: blanks, and from the first NUL on as some old peers write."""
    return raw.partition(b"\0")[0].decode("latin-1").strip(" ")


def _uid(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


def _items(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Items and sub-items of an A-ASSOCIATE-RQ: type and value. Raises `Malformed`."""
    at = 0
    while at < len(body):
        if at + 4 > len(body):
            raise Malformed("an item of the association request is cut off")
        kind, length = struct.unpack_from(">BxH", body, at)
        if at + 4 + length > len(body):
            raise Malformed("an item of the association request is longer than the request")
        yield kind, body[at + 4 : at + 4 + length]
        at += 4 + length


def request(body: bytes) -> Request:
    """Read an A-ASSOCIATE-RQ without its header. Raises `Malformed`."""
    if len(body) < 68:
        raise Malformed("an association request of less than 68 bytes")
    version = struct.unpack_from(">H", body)[0]
    application, contexts = "", []
    for kind, value in _items(body[68:]):
        if kind == 0x10:
            application = _uid(value)
        elif kind == 0x20:
            contexts.append(_proposed(value))
    return Request(
        version,
        title(body[4:20]),
        title(body[20:36]),
        application,
        tuple(contexts),
        body[4:68],
    )


def _proposed(value: bytes) -> Proposed:
    if len(value) < 4:
        raise Malformed("a presentation context of less than four bytes")
    abstract, syntaxes = "", []
    for kind, uid in _items(value[4:]):
        if kind == 0x30:
            abstract = _uid(uid)
        elif kind == 0x40:
            syntaxes.append(_uid(uid))
    return Proposed(value[0], abstract, tuple(syntaxes))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def accept(asked: Request, answers: dict[int, tuple[int, str]]) -> bytes:
    """Return the A-ASSOCIATE-AC. answers: result (PS3.8 table 9-18) and transfer syntax by context id."""
    contexts = b"".join(
        _item(0x21, struct.pack(">BxBx", number, result) + _item(0x40, syntax.encode("latin-1")))
        for number, (result, syntax) in answers.items()
    )
    user = (
        _item(0x51, struct.pack(">I", MAX_PDU))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + _item(0x55, IMPLEMENTATION_VERSION.encode())
    )
    return _pdu(
        ASSOCIATE_AC,
        struct.pack(">Hxx", 1)
        + asked.titles
        + _item(0x10, APPLICATION_CONTEXT.encode())
        + contexts
        + _item(0x50, user),
    )


def reject(refusal: Refusal) -> bytes:
    """Return the A-ASSOCIATE-RJ."""
    return _pdu(ASSOCIATE_RJ, struct.pack(">xBBB", *refusal))


def abort(reason: int = NOT_SPECIFIED) -> bytes:
    """Return the A-ABORT of the service provider."""
    return _pdu(ABORT, struct.pack(">xxBB", 2, reason))


def released() -> bytes:
    """Return the A-RELEASE-RP."""
    return _pdu(RELEASE_RP, bytes(4))


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Return the context id, control header and fragment of each value of a P-DATA-TF. Raises `Malformed`."""
    if (
        not body
    ):  # PS3.8 section 9.3.5: one or more values; none would be a sign of life for nothing
        raise Malformed("a P-DATA-TF without a presentation data value")
    at = 0
    while at < len(body):
        if at + 6 > len(body):
            raise Malformed("a presentation data value is cut off")
        length, context, control = struct.unpack_from(">IBB", body, at)
        if length < 2 or at + 4 + length > len(body):
            raise Malformed("a presentation data value does not fit its PDU")
        yield context, control, body[at + 6 : at + 4 + length]
        at += 4 + length


def command(raw: bytes) -> Command:
    """Read a command set, always in Implicit VR Little Endian. Raises `Malformed`."""
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(raw):
        if at + 8 > len(raw):
            raise Malformed("a command set is cut off")
        group, element, length = struct.unpack_from("<HHI", raw, at)
        if at + 8 + length > len(raw):
            raise Malformed("an element is longer than its command set")
        if group == 0:
            elements[element] = raw[at + 8 : at + 8 + length]
        at += 8 + length
    return Command(
        _number(elements, 0x0100, "command field"),
        _number(elements, 0x0110, "message id") if 0x0110 in elements else 0,
        _uid(elements.get(0x0002, b"")),
        _uid(elements.get(0x1000, b"")),
        _number(elements, 0x0800, "command data set type") != _NO_DATA_SET,
    )


def _number(elements: dict[int, bytes], element: int, name: str) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise Malformed(f"a command set without a valid {name}")
    return int.from_bytes(value, "little")


def response(context: int, asked: Command, status: int, comment: str = "") -> bytes:
    """Return the response to a request as one P-DATA-TF. comment: Error Comment, at most 64 characters."""
    elements = b"".join(
        (
            _element(0x0002, _even(asked.sop_class, b"\0")) if asked.sop_class else b"",
            _element(0x0100, struct.pack("<H", (asked.field | RESPONSE) & 0xFFFF)),
            _element(0x0120, struct.pack("<H", asked.message_id)),
            _element(0x0800, struct.pack("<H", _NO_DATA_SET)),
            _element(0x0900, struct.pack("<H", status)),
            _element(0x0902, _even(comment[:64], b" ")) if comment else b"",
            _element(0x1000, _even(asked.sop_instance, b"\0")) if asked.sop_instance else b"",
        )
    )
    whole = _element(0x0000, struct.pack("<I", len(elements))) + elements
    return _pdu(P_DATA, struct.pack(">IBB", len(whole) + 2, context, 3) + whole)


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _even(text: str, padding: bytes) -> bytes:
    raw = text.encode("latin-1", "replace")
    return raw + padding if len(raw) % 2 else raw
