"""Valid objects of many forms, and mutations of them and of what a sender writes; for tests of reception."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
    RLELossless,
)

from dicomseg.read import parsing

Mutation = Callable[[random.Random, bytearray], None]


# ---- valid objects -------------------------------------------------------------------------------


def _nested(depth: int) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "SRT", "some place"
    if depth:
        item.AnatomicRegionSequence = [_nested(depth - 1), _nested(0)]
        item["AnatomicRegionSequence"].is_undefined_length = depth % 2 == 0
    return item


def _enhanced(ds: Dataset) -> None:
    ds.SOPClassUID, ds.NumberOfFrames = EnhancedMRImageStorage, 3
    frames = []
    for number in range(3):
        frame, plane, turned = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient, turned.ImageOrientationPatient = (
            [0, 0, number],
            [1, 0, 0, 0, 1, 0],
        )
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [plane], [turned]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    ds.PixelData = bytes(range(96))


def _sequences(ds: Dataset) -> None:
    ds.AnatomicRegionSequence = [_nested(5), _nested(2)]
    ds["AnatomicRegionSequence"].is_undefined_length = True
    block = ds.private_block(0x0019, "SOMEBODY", create=True)
    block.add_new(0x01, "UN", bytes(40))
    block.add_new(0x02, "FD", [1.0, 2.0])


def _encapsulated(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.PixelData = encapsulate([bytes(range(200)), bytes(30)])
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"


def plain(_: Dataset) -> None:
    """Leave the object as it is."""


def encoded(path: Path, change: Callable[[Dataset], None], syntax: str) -> tuple[str, bytes]:
    """One valid object: its transfer syntax and its data set, not deflated yet."""
    ds = dcmread(path)
    change(ds)
    ds.private_block(0x7FE1, "SOMEBODY", create=True).add_new(0x01, "OB", bytes(1500))
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    if syntax == ExplicitVRBigEndian:
        del ds.PixelData
    if change is not _encapsulated:
        ds.file_meta.TransferSyntaxUID = syntax
    if syntax == DeflatedExplicitVRLittleEndian:
        return syntax, encoded(path, change, ExplicitVRLittleEndian)[1]
    out = BytesIO()
    pydicom.dcmwrite(
        out, ds, implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=True,
    )  # fmt: skip
    raw = out.getvalue()
    return str(ds.file_meta.TransferSyntaxUID), raw[parsing.split_file_meta(raw)[0] :]


def valid_objects(paths: list[Path]) -> list[tuple[str, bytes]]:
    native = (
        ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    )  # fmt: skip
    found = []
    for path in paths:
        for change in (plain, _enhanced, _sequences):
            found += [encoded(path, change, syntax) for syntax in native]
        found.append(encoded(path, _encapsulated, ExplicitVRLittleEndian))
        found.append(encoded(path, plain, RLELossless))
    return found


# ---- mutations -----------------------------------------------------------------------------------


def _place(draw: random.Random, data: bytearray) -> int:
    """An offset, more often in the header than in the pixels."""
    end = len(data) if draw.random() < 0.5 else min(len(data), 700)
    return draw.randrange(max(1, end))


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 2, 5, 30))):
        at = _place(draw, data)
        data[at : at + 1] = bytes([data[at] ^ (1 << draw.randrange(8))]) if at < len(data) else b""


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[_place(draw, data) :]


def _remove(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    del data[at : at + draw.choice((1, 2, 4, 8, 100))]


def _insert(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    data[at:at] = draw.randbytes(draw.choice((1, 2, 8, 64)))


def _repeat(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    piece = data[at : at + draw.choice((8, 40, 300))]
    data[at:at] = piece * draw.choice((1, 3, 50))


def _length(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data) & ~1
    size = draw.choice((2, 4))
    values = (0, 1, 3, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, draw.getrandbits(32))
    data[at : at + size] = struct.pack("<I", draw.choice(values))[:size]


def _vr(draw: random.Random, data: bytearray) -> None:
    kinds = (b"US", b"SQ", b"UN", b"OB", b"UI", b"DS", b"FD", b"UT", b"AT", b"PN", b"ZZ", b"\0\0")
    found = [at for kind in kinds for at in [data.find(kind, draw.randrange(max(1, len(data))))]]
    places = [at for at in found if at >= 0]
    if places:
        at = draw.choice(places)
        data[at : at + 2] = draw.choice(kinds)


def _nest(draw: random.Random, data: bytearray) -> None:
    at, depth = _place(draw, data), draw.choice((1, 10, 63, 65, 500, 3000))
    opened = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    opened += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    data[at:at] = opened * depth + closed * draw.choice((depth, depth - 1, 0))


def _delimiter(draw: random.Random, data: bytearray) -> None:
    at = _place(draw, data)
    data[at:at] = struct.pack("<HHI", 0xFFFE, draw.choice((0xE000, 0xE00D, 0xE0DD)), 0)


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _flip, _cut, _remove, _insert, _repeat, _length, _vr, _nest, _delimiter,
)  # fmt: skip
SYNTAXES: Final = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless, "1.2.3.4.5",
)  # fmt: skip


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def mutated(draw: random.Random, syntax: str, data: bytes) -> tuple[str, bytes]:
    """Mutate one object: inside its deflate stream or outside, not at all or several times, or its label."""
    raw = bytearray(data)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    outside = deflated and draw.random() < 0.3
    if outside:
        raw = bytearray(_deflated(data))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        if raw:
            draw.choice(MUTATIONS)(draw, raw)
    if draw.random() < 0.05:
        syntax = draw.choice(SYNTAXES)
    return syntax, _deflated(bytes(raw)) if deflated and not outside else bytes(raw)


# ---- PDUs ----------------------------------------------------------------------------------------


def dialogue(peer: Any, data: bytes) -> list[bytes]:
    """Everything that a sender of one object writes."""
    command = peer.command(1, sop_class=MRImageStorage, sop_instance="1.2.3.1")
    return [
        peer.request(),
        peer.fragment(3, command),
        peer.fragment(0, data[:200]),
        peer.fragment(2, data[200:]),
        b"\5\0\0\0\0\4\0\0\0\0",
    ]


def mutated_pdus(draw: random.Random, pdus: list[bytes]) -> list[bytes]:
    said = [bytearray(p) for p in pdus]
    for _ in range(draw.choice((1, 1, 2, 3))):
        victim = draw.choice(said)
        action = draw.randrange(6)
        if action == 0:
            said.insert(draw.randrange(len(said)), bytearray(draw.choice(said)))
        elif action == 1 and len(said) > 1:
            said.remove(victim)
        elif action == 2 and len(victim) > 6:
            victim[draw.randrange(6)] = draw.randrange(256)  # type or length
        elif action == 3:
            said = [*said[: draw.randrange(len(said)) + 1], bytearray(draw.randbytes(40))]
        elif victim:
            draw.choice((_flip, _cut, _remove, _insert, _length))(draw, victim)
    return [bytes(p) for p in said if p] or [b"\0"]
