"""Whatever a file holds, reading its header ends with an `Instance` or `Unreadable`, in bounded memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from contextlib import suppress

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomseg.errors import Unreadable
from dicomseg.read import parsing
from dicomseg.read.header import MediaDirectory, instance_from_dataset, read_instance

MB = 1 << 20


def encoded(ds, implicit=False, little=True):
    """The data set's bytes without preamble and file meta information."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    write_dataset(out, ds)
    return out.getvalue()


def part10(ds, data, syntax):
    """A DICOM file around the bytes of a data set."""
    meta = Dataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = syntax
    return b"\0" * 128 + b"DICM" + encoded(meta) + data


def deflated(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.fixture
def stored(tmp_path):
    def write(raw):
        path = tmp_path / "x.dcm"
        path.write_bytes(raw)
        return path

    return write


def peak_mb(path):
    """Memory that reading a header takes, whether it succeeds or not."""
    tracemalloc.start()
    try:
        with suppress(Unreadable):
            read_instance(path)
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_deflated_object_that_is_cut_off_is_unreadable(scan, stored, share):
    ds = scan.dataset(0)
    data = deflated(encoded(ds))
    path = stored(part10(ds, data[: int(len(data) * share)], DeflatedExplicitVRLittleEndian))
    with pytest.raises(Unreadable, match="cut off"):
        read_instance(path)


def test_a_deflated_object_that_is_whole_is_read(scan, stored):
    ds = scan.dataset(0)
    found = read_instance(stored(part10(ds, deflated(encoded(ds)), DeflatedExplicitVRLittleEndian)))
    plain = read_instance(stored(part10(ds, encoded(ds), ExplicitVRLittleEndian)))
    assert (found.rows, found.position_lps) == (plain.rows, plain.position_lps)
    assert found.has_pixels


def test_a_deflated_object_with_too_few_pixels_is_unreadable(scan, stored):
    ds = scan.dataset(0)
    ds.PixelData = ds.PixelData[:20]
    with pytest.raises(Unreadable, match="truncated, 20 of 60 bytes"):
        read_instance(stored(part10(ds, deflated(encoded(ds)), DeflatedExplicitVRLittleEndian)))


@pytest.mark.parametrize("length", [0, 1, 3, 5])
@pytest.mark.parametrize(
    "keyword",
    ["Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PixelRepresentation"],
)
def test_a_binary_number_of_a_wrong_length_is_read_or_refused(scan, stored, keyword, length):
    ds = scan.dataset(0)
    raw = encoded(ds)
    tag = ds[keyword].tag
    at = raw.find(struct.pack("<HH2s", tag.group, tag.element, b"US"))
    data = raw[: at + 6] + struct.pack("<H", length) + b"\1" * length + raw[at + 10 :]
    with suppress(Unreadable):
        assert (
            read_instance(stored(part10(ds, data, ExplicitVRLittleEndian))).series_uid == "1.2.3.4"
        )


def test_a_value_that_cannot_be_converted_costs_itself_only(scan):
    ds = scan.dataset(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.add_new("EchoTime", "FD", 1.0)
        ds["EchoTime"]._value = b"\1\2\3"
    assert instance_from_dataset(ds, None, "").rows == 6


def nested(depth):
    """A sequence in a sequence in a sequence …, all of undefined length."""
    head = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return (head + item) * depth


HOSTILE = {
    "10,000 nested sequences": lambda raw: nested(10_000) + raw,
    "300 nested sequences": lambda raw: nested(300) + raw,
    "60,000 elements": lambda raw: raw + b"".join(
        struct.pack("<HH2sH", 0x0029, n, b"LO", 0) for n in range(60_000)
    ),
    "a sequence of a million empty items": lambda raw: (
        struct.pack("<HH2sHL", 0x5200, 0x9230, b"SQ", 0, 8_000_000)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 1_000_000
        + raw
    ),
    "a value of 4 GB": lambda raw: (
        raw + struct.pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, 0xFFFFFFF0)
    ),
    "an unknown VR": lambda raw: raw[:200] + b"\x29\0\x10\x10ZZ\xff\xff" + raw[200:],
    "pixels of undefined length without an end": lambda raw: (
        raw + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\0\0\0\0"
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(HOSTILE))
@pytest.mark.parametrize("packed", [False, True])
def test_a_hostile_header_takes_bounded_memory(scan, stored, monkeypatch, kind, packed):
    """With a tenth of the reads that a header may take, for a quick test."""
    monkeypatch.setattr(parsing, "READ_LIMIT", parsing.READ_LIMIT // 10)
    ds = scan.dataset(0)
    del ds.PixelData
    data = HOSTILE[kind](encoded(ds))
    syntax = DeflatedExplicitVRLittleEndian if packed else ExplicitVRLittleEndian
    path = stored(part10(ds, deflated(data) if packed else data, syntax))
    assert peak_mb(path) < 30


@pytest.mark.slow
def test_a_bomb_is_refused_without_being_inflated(scan, stored, monkeypatch):
    """2 MB of deflated zeros in a private element become 1 GB."""
    ds = scan.dataset(0)
    packer = zlib.compressobj(wbits=-15)
    parts = [packer.compress(encoded(ds)[:-80])]
    parts.append(packer.compress(struct.pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, 1 << 30)))
    parts += [packer.compress(bytes(MB)) for _ in range(1024)]
    raw = part10(ds, b"".join([*parts, packer.flush()]), DeflatedExplicitVRLittleEndian)
    path = stored(raw)
    assert len(raw) < 2 * MB
    with pytest.raises(Unreadable, match="deflated data set of more than 256 MiB"):
        read_instance(path)
    monkeypatch.setattr(parsing, "INFLATED_LIMIT", 32 * MB)
    assert peak_mb(path) < 34


def test_pixels_are_not_held(scan, stored):
    ds = scan.dataset(0)
    ds.Rows, ds.Columns = 4096, 4096
    ds.PixelData = bytes(32 * MB)
    path = stored(part10(ds, encoded(ds), ExplicitVRLittleEndian))
    assert read_instance(path).has_pixels
    assert peak_mb(path) < 4


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_encapsulated_pixels_that_are_cut_off_are_unreadable(scan, stored, tmp_path, cut):
    ds = scan.dataset(0)
    ds.compress(RLELossless, generate_instance_uid=False)
    path = tmp_path / "rle.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert read_instance(path).has_pixels
    with pytest.raises(Unreadable, match="pixel data is cut off"):
        read_instance(stored(path.read_bytes()[:-cut]))


def test_equal_pixels_have_equal_digests(scan, stored):
    a, b, c = scan.dataset(0), scan.dataset(5), scan.dataset(5)
    b.PixelData = a.PixelData
    first, second, third = (
        read_instance(stored(part10(ds, encoded(ds), ExplicitVRLittleEndian))) for ds in (a, b, c)
    )
    assert first.pixel_digest == second.pixel_digest != third.pixel_digest
    assert first.digest != second.digest


ENCODINGS = {
    "implicit": (True, True, ImplicitVRLittleEndian),
    "explicit": (False, True, ExplicitVRLittleEndian),
    "big endian": (False, False, ExplicitVRBigEndian),
}


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_a_missing_transfer_syntax_is_guessed_from_the_bytes(scan, stored, name):
    implicit, little, syntax = ENCODINGS[name]
    ds = scan.dataset(3)
    data = encoded(ds, implicit, little)
    meta = Dataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    forms = [data, b"\0" * 128 + b"DICM" + encoded(meta) + data, part10(ds, data, syntax)]
    for raw in forms:
        found = read_instance(stored(raw))
        assert (found.rows, found.instance_number) == (6, 4)
        assert found.position_lps == pytest.approx((-10.0, -20.0, -27.3))


def test_file_meta_information_in_implicit_vr_is_read(scan, stored):
    ds = scan.dataset(0)
    meta = Dataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = ds.SOPClassUID, ExplicitVRLittleEndian
    found = read_instance(
        stored(b"\0" * 128 + b"DICM" + encoded(meta, implicit=True) + encoded(ds))
    )
    assert found.transfer_syntax_uid == ExplicitVRLittleEndian


def test_a_table_of_contents_is_named_as_such(scan, stored):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3"
    ds.FileSetID = "CD"
    ds.DirectoryRecordSequence = []
    with pytest.raises(MediaDirectory, match="a DICOMDIR"):
        read_instance(stored(part10(ds, encoded(ds), ExplicitVRLittleEndian)))


def test_an_archive_is_to_be_unpacked(stored):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1", bytes(5000))
    with pytest.raises(Unreadable, match=r"a ZIP archive; unpack it first"):
        read_instance(stored(out.getvalue()))


def test_another_fault_of_the_parser_is_the_files_fault(scan, stored, monkeypatch):
    ds = scan.dataset(0)
    path = stored(part10(ds, encoded(ds), ExplicitVRLittleEndian))

    def fail(*_args, **_kwargs):
        raise RuntimeError("a new bug of a library")

    monkeypatch.setattr(parsing, "read_dataset", fail)
    with pytest.raises(Unreadable, match="RuntimeError"):
        read_instance(path)
