"""A peer that writes any bytes, right ones and wrong ones."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

_FRAGMENT = 100_000


class RawPeer:
    """A peer that writes the bytes it is given, right ones and wrong ones (PS3.8 section 9.3)."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        self.link = socket.create_connection(("127.0.0.1", port), 8, source_address=(source, 0))

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    @staticmethod
    def request(
        *contexts: tuple[str, tuple[str, ...]],
        calling: bytes = b"RAW".ljust(16),
        called: bytes = b"NODE".ljust(16),
        roles: bytes = b"",
    ) -> bytes:
        """An A-ASSOCIATE-RQ; contexts are classes with their transfer syntaxes, MR images without any.

        roles: items of role selection.
        """

        def item(kind: int, value: bytes) -> bytes:
            return struct.pack(">BxH", kind, len(value)) + value

        body = struct.pack(">Hxx", 1) + called + calling + bytes(32)
        body += item(0x10, b"1.2.840.10008.3.1.1.1")
        wanted = contexts or ((MRImageStorage, (ExplicitVRLittleEndian,)),)
        for number, (sop_class, syntaxes) in enumerate(wanted):
            items = item(0x30, sop_class.encode())
            items += b"".join(item(0x40, s.encode()) for s in syntaxes)
            body += item(0x20, bytes([2 * number + 1, 0, 0, 0]) + items)
        body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4") + roles)
        return struct.pack(">BxI", 1, len(body)) + body

    @staticmethod
    def fragment(control: int, data: bytes, context: int = 1) -> bytes:
        """A P-DATA-TF of one value; control: 1 command, 2 last."""
        value = struct.pack(">IBB", len(data) + 2, context, control) + data
        return struct.pack(">BxI", 4, len(value)) + value

    @staticmethod
    def command(field: int, *, sop_class: str, sop_instance: str = "", data: bool = True) -> bytes:
        """A command set of a request."""

        def element(number: int, value: bytes) -> bytes:
            value += bytes(len(value) % 2)
            return struct.pack("<HHI", 0, number, len(value)) + value

        body = element(0x0002, sop_class.encode()) + element(0x0100, struct.pack("<H", field))
        body += element(0x0110, struct.pack("<H", 7))
        if field == 1:
            body += element(0x0700, bytes(2))  # Priority, which other receivers insist on
        body += element(0x0800, struct.pack("<H", 1 if data else 0x0101))
        if sop_instance:
            body += element(0x1000, sop_instance.encode())
        return element(0x0000, struct.pack("<I", len(body))) + body

    def send(self, raw: bytes) -> RawPeer:
        """Write bytes; a node that has closed is no error here, its last bytes are read."""
        with suppress(OSError):
            self.link.sendall(raw)
        return self

    def associate(self, *contexts: tuple[str, tuple[str, ...]]) -> RawPeer:
        """Get an association."""
        kind, _ = self.send(self.request(*contexts)).read()
        assert kind == 2
        return self

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; 0 when the node has closed."""
        head = self._take(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._take(int.from_bytes(head[2:6], "big"))

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            try:
                piece = self.link.recv(count - len(taken))
            except ConnectionResetError:
                break
            if not piece:
                break
            taken += piece
        return taken

    def store(
        self, data: bytes, sop_instance: str, sop_class: str = MRImageStorage, context: int = 1
    ) -> int:
        """Send one object; returns the status, -1 when there is none."""
        asked = self.command(1, sop_class=sop_class, sop_instance=sop_instance)
        self.send(self.fragment(3, asked, context))
        for at in range(0, len(data) or 1, _FRAGMENT):
            last = at + _FRAGMENT >= len(data)
            self.send(self.fragment(2 * last, data[at : at + _FRAGMENT], context))
        return self.status()

    def status(self) -> int:
        """Status of the response that comes next, -1 when none comes."""
        kind, body = self.read()
        at = body.find(b"\x00\x00\x00\x09\x02\x00\x00\x00") if kind == 4 else -1
        return int.from_bytes(body[at + 8 : at + 10], "little") if at >= 0 else -1


@pytest.fixture
def raw_peer() -> type[RawPeer]:
    """Connect to a port: `raw_peer(port)`."""
    return RawPeer
