"""Typed values: what is remembered of an earlier object is what pydicom says of this one."""

from __future__ import annotations

import io
import random
import struct
import warnings
from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from dicomseg.read import attributes

KEYWORDS = {
    0x00080008: ("ImageType", b"CS"), 0x00080018: ("SOPInstanceUID", b"UI"), 0x00080020: ("StudyDate", b"DA"),
    0x00080030: ("StudyTime", b"TM"), 0x00081030: ("StudyDescription", b"LO"), 0x00100010: ("PatientName", b"PN"),
    0x00101010: ("PatientAge", b"AS"), 0x00180050: ("SliceThickness", b"DS"), 0x00189073: ("AcquisitionDuration", b"FD"),
    0x00200013: ("InstanceNumber", b"IS"), 0x00200032: ("ImagePositionPatient", b"DS"), 0x00280010: ("Rows", b"US"),
}  # fmt: skip
CHARSETS = (
    b"",
    b"ISO_IR 100",
    b"ISO_IR 192",
    b"\\ISO 2022 IR 87",
    b"ISO_IR 101\\ISO_IR 6",
    b"NONSENSE",
)
ALPHABET = (
    b"1",
    b"-2.5",
    b"\\",
    b" ",
    b"A",
    b"^",
    b"=",
    b"\0",
    b"\xe4\xb8\xad",
    b"\xff",
    b"\x1b$B",
    b"1e400",
    b"nan",
)
"""Pieces of values, right and wrong."""


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _data_sets(seed: int) -> Iterator[bytes]:
    """Data sets of which many share values, under several VRs and character sets."""
    draw = random.Random(seed)
    values = [b"".join(draw.choices(ALPHABET, k=draw.randrange(6))) for _ in range(40)]
    for _ in range(25):
        elements = [_element(0x00080005, b"CS", draw.choice(CHARSETS))]
        for tag, (_, vr) in KEYWORDS.items():
            other = draw.choice([v for _, v in KEYWORDS.values()])
            vr_written = other if draw.random() < 0.2 else vr
            elements.append(_element(tag, vr_written, draw.choice(values)))
        yield b"".join(sorted(elements, key=lambda e: struct.unpack_from("<HH", e)))


def _read(raw: bytes) -> Dataset:
    return read_dataset(io.BytesIO(raw), False, True)


def _all(ds: Dataset) -> list[object]:
    return [
        (read(ds, keyword), attributes.numbers(ds, keyword, 3))
        for keyword, _ in KEYWORDS.values()
        for read in (attributes.texts, attributes.codes, attributes.number, attributes.integer)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_that_pydicom_gives_of_each_object(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for raw in _data_sets(seed):
            remembered = _all(_read(raw))
            with monkeypatch.context() as patch:
                patch.setattr(attributes, "_key", lambda *_: None)
                assert remembered == _all(_read(raw)), raw


def test_long_or_unknown_values_are_not_remembered() -> None:
    long = _read(_element(0x00081030, b"LO", b"x" * 400))
    unknown = _read(struct.pack("<HH2sHI", 0x0008, 0x1030, b"UN", 0, 2) + b"x ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ds in (long, unknown):
            assert attributes._key(ds, "StudyDescription") is None
            assert attributes.text(ds, "StudyDescription").startswith("x")


def test_what_cannot_be_converted_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _element(0x00081030, b"LO", b"once")
    with monkeypatch.context() as patch:
        patch.setattr(attributes, "convert_raw_data_element", lambda *_a, **_k: 1 / 0)
        assert attributes.texts(_read(raw), "StudyDescription") == ()
        assert attributes.number(_read(raw), "StudyDescription") is None
    assert attributes.text(_read(raw), "StudyDescription") == "once"


def test_value_of_an_element_that_is_not_raw_any_more_is_its_own() -> None:
    ds = _read(_element(0x00200013, b"IS", b"7 "))
    assert attributes.integer(ds, "InstanceNumber") == 7
    ds.InstanceNumber = 8
    assert attributes.integer(ds, "InstanceNumber") == 8
    del ds[BaseTag(0x00200013)]
    assert attributes.integer(ds, "InstanceNumber") is None
