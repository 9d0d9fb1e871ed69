"""Memory of the receiving process, measured from outside, while twenty senders do their worst."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, MRImageStorage

from tests.support.senders import data_set_of

LIMIT_MB = 600
"""What the serving process may take whatever is sent; 120 MB of it are Python and its libraries."""
SENDERS = 20
EACH_MB = 40
"""Bytes of each unfinished object: all of them are more than the limit."""

_NODE = """
import sys, time, threading
from pathlib import Path
from node.config.receive import ReceiveConfig
from node.event_log import EventLog
from node.journal.journal import Journal
from node.receive.step import ReceiveStep
from node.store.spool import Spool
state = Path(sys.argv[1])
config = ReceiveConfig(max_associations=25, max_associations_per_peer=25, reserved_associations=0)
spool, journal = Spool(state), Journal.open(state / "journal.sqlite", time.time)
print(ReceiveStep(config, "NODE", "127.0.0.1", 0, spool, journal, EventLog("t").event, lambda: 1 << 60).start(), flush=True)
threading.Event().wait(120)
"""


class _Served:
    """A receiver in a process of its own, and the most memory it was seen with."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.child = subprocess.Popen(
            [sys.executable, "-c", _NODE, str(state)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.child.stdout is not None
        self.port = int(self.child.stdout.readline())

    def peak_mb(self) -> float:
        """Largest resident set so far."""
        status = Path(f"/proc/{self.child.pid}/status").read_text(encoding="ascii")
        (line,) = [one for one in status.splitlines() if one.startswith("VmHWM")]
        return int(line.split()[1]) / 1000

    def end(self) -> None:
        """Kill it."""
        self.child.kill()
        self.child.wait(20)
        assert self.child.stdout is not None
        self.child.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[_Served]:
    one = _Served(tmp_path / "state")
    yield one
    one.end()


def _bomb(data: bytes) -> bytes:
    """Two megabytes that inflate to two gigabytes."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    size = 2_000_000_000
    out = [deflate.compress(data + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, size))]
    piece = bytes(20_000_000)
    out += [deflate.compress(piece) for _ in range(size // len(piece))]
    return b"".join([*out, deflate.flush()])


def _many_small_pieces(data: bytes) -> bytes:
    """A bomb without one large element: half a gigabyte of values of 60 kB."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x7FE1, 0x1001, b"OB", 0, 60_000) + bytes(60_000)
    out = [deflate.compress(data)]
    out += [deflate.compress(element) for _ in range(20_000)]
    return b"".join([*out, deflate.flush()])


def _unfinished(connect: Any, port: int, number: int, go_on: threading.Event) -> None:
    """Send a large object and never its end."""
    with connect(port).associate() as peer:
        command = peer.command(1, sop_class=MRImageStorage, sop_instance=f"1.9.{number}")
        peer.send(peer.fragment(3, command))
        piece = peer.fragment(0, bytes(120_000))
        for _ in range(EACH_MB * 1_000_000 // 120_000):
            peer.send(piece)
        go_on.wait(60)


def _large_request(connect: Any, port: int, number: int, go_on: threading.Event) -> None:
    """Announce a request of a megabyte and send most of it."""
    with connect(port, source=f"127.0.0.{number + 10}") as peer:
        peer.send(b"\1\0\0\x0f\xff\xff" + bytes(900_000))
        go_on.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_twenty_hostile_senders_stay_below_the_limit_and_others_are_served(
    served: _Served, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    paths = write_series(tmp_path / "in", slices=14)
    bombs = [_bomb(data_set_of(paths[0])), _many_small_pieces(data_set_of(paths[1]))]
    deflated = (MRImageStorage, (DeflatedExplicitVRLittleEndian,))
    go_on = threading.Event()

    def bomb(number: int) -> int:
        with raw_peer(served.port).associate(deflated) as peer:
            peer.link.settimeout(100)  # a gigabyte is inflated and thrown away
            status: int = peer.store(bombs[number], f"1.2.3.{1 + number}")
            return status

    def healthy(path: Path) -> int:
        time.sleep(0.2)
        with raw_peer(served.port).associate() as peer:
            peer.link.settimeout(60)
            status: int = peer.store(data_set_of(path), path.stem)
            return status

    with ThreadPoolExecutor(60) as pool:
        for number in range(SENDERS - len(bombs)):
            pool.submit(_unfinished, raw_peer, served.port, number, go_on)
        for number in range(30):
            pool.submit(_large_request, raw_peer, served.port, number, go_on)
        exploded = pool.map(bomb, range(len(bombs)))
        statuses = [healthy(path) for path in paths[2:]]
        assert list(exploded) == [0] * len(bombs)
        on_disk = sum(p.stat().st_size for p in served.state.rglob("*.part"))
        go_on.set()
    assert statuses == [0] * 12
    assert on_disk > LIMIT_MB * 1_000_000  # so much of it would have been memory
    peak = served.peak_mb()
    sys.stdout.write(f"peak {peak:.0f} MB\n")
    assert peak < LIMIT_MB
    ends_at = time.monotonic() + 10
    while list(served.state.rglob("*.part")):
        assert time.monotonic() < ends_at, "unfinished objects are still there"
        time.sleep(0.1)
    assert served.child.poll() is None
