"""The planning page of a result as PNG, made of `summary.dcm` within limits; anything else than that page is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import SecondaryCaptureImageStorage

SUMMARY: Final = "summary.dcm"
MOST_BYTES: Final = 64_000_000
LONGEST_SIDE: Final = 4096
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEAD_TAGS: Final = ("SOPClassUID", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PlanarConfiguration", "PixelData")  # fmt: skip
_COMPRESSION: Final = 4


def summary_png(folder: Path) -> bytes | None:
    """Return the planning page of a result folder; None where there is none or it is not as this node writes it."""
    file = folder / SUMMARY
    try:
        if file.stat().st_size > MOST_BYTES:
            return None
        ds = dcmread(file, specific_tags=list(_HEAD_TAGS))
        if ds.SOPClassUID != SecondaryCaptureImageStorage or ds.file_meta.TransferSyntaxUID.is_compressed:  # fmt: skip
            return None
        rows, columns = int(ds.Rows), int(ds.Columns)
        plain = (ds.SamplesPerPixel, ds.BitsAllocated, ds.PlanarConfiguration) == (3, 8, 0)
        if not plain or not 0 < rows <= LONGEST_SIDE or not 0 < columns <= LONGEST_SIDE:
            return None
        pixels = bytes(ds.PixelData)
    except (OSError, InvalidDicomError, AttributeError, ValueError, TypeError):
        return None
    length = rows * columns * 3
    return png(rows, columns, pixels[:length]) if len(pixels) >= length else None


def png(rows: int, columns: int, rgb: bytes) -> bytes:
    """Return an image as PNG (ISO 15948). rgb: three bytes a pixel, row by row."""
    stride = columns * 3
    lines = b"".join(b"\0" + rgb[r * stride : (r + 1) * stride] for r in range(rows))
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    data = zlib.compress(lines, _COMPRESSION)
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
