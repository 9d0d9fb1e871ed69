"""The DICOM upper layer as bytes (PS3.8 section 9.3): pure, without sockets. Messages are in `dimse`.

Only what an acceptor of C-STORE, C-ECHO and storage commitment reads and writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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


DEFAULT_MAX_PDU: Final = 16_384
"""Bytes of a P-DATA-TF to a peer that announces no maximum, or none at all."""

Roles = tuple[int, int]
"""Whether the requestor takes the role of SCU, and of SCP: 0 or 1."""


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
    max_pdu: int = DEFAULT_MAX_PDU
    """Largest P-DATA-TF that the peer reads, in bytes."""
    roles: Mapping[str, Roles] = field(default_factory=dict)
    """Proposed SCU and SCP role by SOP class (PS3.7 D.3.3.4)."""


def header(raw: bytes | memoryview) -> tuple[int, int]:
    """Return the type and length of a PDU from its first six bytes."""
    kind, length = struct.unpack(">BxI", raw)
    return int(kind), int(length)


def title(raw: bytes) -> str:
    """Return an AE title without padding: blanks, and from the first NUL on as some old peers write."""
    return raw.partition(b"\0")[0].decode("latin-1").strip(" ")


def uid_text(raw: bytes) -> str:
    """Return a UID without its padding."""
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
    application, contexts, user = "", [], b""
    for kind, value in _items(body[68:]):
        if kind == 0x10:
            application = uid_text(value)
        elif kind == 0x20:
            contexts.append(_proposed(value))
        elif kind == 0x50:
            user = value
    largest, roles = _user_information(user)
    return Request(
        version,
        title(body[4:20]),
        title(body[20:36]),
        application,
        tuple(contexts),
        body[4:68],
        largest,
        roles,
    )


def _proposed(value: bytes) -> Proposed:
    if len(value) < 4:
        raise Malformed("a presentation context of less than four bytes")
    abstract, syntaxes = "", []
    for kind, uid in _items(value[4:]):
        if kind == 0x30:
            abstract = uid_text(uid)
        elif kind == 0x40:
            syntaxes.append(uid_text(uid))
    return Proposed(value[0], abstract, tuple(syntaxes))


def _user_information(value: bytes) -> tuple[int, dict[str, Roles]]:
    """Largest P-DATA-TF, and the proposed roles by SOP class."""
    largest, roles = 0, dict[str, Roles]()
    for kind, item in _items(value):
        if kind == 0x51 and len(item) == 4:
            largest = int.from_bytes(item, "big")
        elif kind == 0x54 and len(item) > 4:
            uid, (scu, scp) = item[2:-2], item[-2:]
            roles[uid_text(uid)] = (int(scu == 1), int(scp == 1))
    return largest or DEFAULT_MAX_PDU, roles


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def accept(
    asked: Request, answers: dict[int, tuple[int, str]], roles: Mapping[str, Roles] | None = None
) -> bytes:
    """Return the A-ASSOCIATE-AC.

    answers: result (PS3.8 table 9-18) and transfer syntax by context id. roles: those that are accepted, by SOP class.
    """
    contexts = b"".join(
        _item(0x21, struct.pack(">BxBx", number, result) + _item(0x40, syntax.encode("latin-1")))
        for number, (result, syntax) in answers.items()
    )
    user = (
        _item(0x51, struct.pack(">I", MAX_PDU))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + b"".join(
            _item(0x54, struct.pack(">H", len(uid)) + uid.encode("latin-1") + bytes(accepted))
            for uid, accepted in (roles or {}).items()
        )
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


def value(context: int, control: int, fragment: bytes) -> bytes:
    """Return one P-DATA-TF with one presentation data value."""
    return _pdu(P_DATA, struct.pack(">IBB", len(fragment) + 2, context, control) + fragment)
