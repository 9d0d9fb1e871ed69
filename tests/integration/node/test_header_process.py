"""The process that reads headers: what ends it costs one object, and neither the service nor the objects beside it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MRImageStorage

from dicomseg.errors import Unreadable
from node.sandbox.headers import HeaderReader
from node.store.spool import file_meta
from tests.support.senders import data_set_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
_UNDEFINED: Final = 0xFFFFFFFF


@pytest.fixture
def reader() -> Iterator[HeaderReader]:
    one = HeaderReader()
    yield one
    one.close()


def _pid(reader: HeaderReader) -> int:
    process = reader._child._process
    assert process is not None
    return process.pid


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM")) / 1000


def _sequence(inside: bytes) -> bytes:
    return (
        struct.pack("<HH2sHIHHI", 8, 0x1140, b"SQ", 0, _UNDEFINED, 0xFFFE, 0xE000, _UNDEFINED)
        + inside
        + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    )


def _deep(data: bytes) -> bytes:
    """Ten thousand levels."""
    opened = struct.pack("<HH2sHIHHI", 8, 0x1140, b"SQ", 0, _UNDEFINED, 0xFFFE, 0xE000, _UNDEFINED)
    closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return opened * 10_000 + closed * 10_000 + data


def _million_elements(data: bytes) -> bytes:
    element = struct.pack("<HH2sH", 9, 0x1001, b"LO", 0)
    return element * 1_000_000 + data


def _items(data: bytes) -> bytes:
    """Two million empty items of one sequence."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    head = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, _UNDEFINED)
    return head + item * 2_000_000 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + data


def _defined_items(data: bytes) -> bytes:
    """Half a million items inside one sequence with a length, which is stepped over at the reception."""
    inside = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 500_000
    return struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, len(inside)) + inside + data


def _four_gigabytes(data: bytes) -> bytes:
    return struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 0xFFFFFFF0) + data


def _private_blob(data: bytes) -> bytes:
    return struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 80_000_000) + bytes(80_000_000) + data


def _undefined_lengths(data: bytes) -> bytes:
    return struct.pack("<HH2sHI", 9, 0x1001, b"UN", 0, _UNDEFINED) * 1000 + data


def _functional_groups(data: bytes) -> bytes:
    """A million frames, each with an empty item."""
    head = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, 8_000_000)
    at = data.rindex(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    return data[:at] + head + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000 + data[at:]


BOMBS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    _deep, _million_elements, _items, _defined_items, _four_gigabytes, _private_blob, _undefined_lengths,
    _functional_groups,
)  # fmt: skip


def _stored(folder: Path, name: str, data: bytes, syntax: str = ExplicitVRLittleEndian) -> Path:
    path = folder / f"{name}.dcm"
    path.write_bytes(file_meta(MRImageStorage, "1.2.3.9", syntax, "") + data)
    return path


def test_no_bomb_takes_the_service_with_it_and_the_next_header_is_read(
    reader: HeaderReader, tmp_path: Path, write_series: Any
) -> None:
    (good,) = write_series(tmp_path / "in", slices=1)
    whole, data = reader(good), data_set_of(good)
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    deflated = b"".join(
        (
            deflate.compress(data),
            *(deflate.compress(bytes(1 << 24)) for _ in range(40)),
            deflate.flush(),
        )
    )
    paths = [_stored(tmp_path, bomb.__name__, bomb(data)) for bomb in BOMBS]
    paths.append(_stored(tmp_path, "deflate", deflated, DeflatedExplicitVRLittleEndian))
    before = _peak_mb(os.getpid())
    answers: dict[str, str] = {}
    for path in paths:
        began = time.monotonic()
        try:
            reader(path)
            answers[path.stem] = "read"
        except Unreadable as error:
            answers[path.stem] = str(error)
        assert time.monotonic() - began < 60
        assert reader(good) == whole
    assert _peak_mb(os.getpid()) - before < 150
    assert "TooLarge" not in answers["_private_blob"]
    for name in ("_deep", "_million_elements", "_four_gigabytes", "deflate"):
        assert answers[name] != "read", name


def test_process_is_limited_in_memory(
    reader: HeaderReader, tmp_path: Path, write_series: Any
) -> None:
    (good,) = write_series(tmp_path / "in", slices=1)
    reader(good)
    limits = Path(f"/proc/{_pid(reader)}/limits").read_text(encoding="ascii")
    line = next(x for x in limits.splitlines() if x.startswith("Max address space"))
    assert int(line.split()[3]) <= 2_000_000_000


def test_process_that_is_killed_is_started_again(
    reader: HeaderReader, tmp_path: Path, write_series: Any
) -> None:
    (good,) = write_series(tmp_path / "in", slices=1)
    whole = reader(good)
    os.kill(_pid(reader), 9)
    assert reader(good) == whole


def test_process_does_not_outlive_the_service(tmp_path: Path, write_series: Any) -> None:
    (good,) = write_series(tmp_path / "in", slices=1)
    code = (
        "import os, sys; from pathlib import Path; from node.sandbox.headers import HeaderReader;"
        "r = HeaderReader(); r(Path(sys.argv[1])); print(r._child._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(good)], capture_output=True, text=True, check=False
    )
    pid, ends_at = int(run.stdout), time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < ends_at, "it is still there"
        time.sleep(0.05)


def test_header_that_takes_too_long_is_given_up_and_the_next_one_is_read(
    tmp_path: Path, write_series: Any
) -> None:
    (good,) = write_series(tmp_path / "in", slices=1)
    waits = tmp_path / "waits.dcm"
    os.mkfifo(waits)  # opening it waits for a writer that never comes
    reader = HeaderReader()
    try:
        whole = reader(good)
        reader._child._most_s = 1.0
        with pytest.raises(Unreadable, match="took more than"):
            reader(waits)
        reader._child._most_s = 20.0
        assert reader(good) == whole
    finally:
        reader.close()
