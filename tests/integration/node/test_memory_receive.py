"""Memory of the receiving process, measured from outside: while twenty senders do their worst, and over many series.

`HOSTILE_SECONDS` and `SERIES` make the runs longer.
"""

from __future__ import annotations

import contextlib
import os
import random
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

from node.bench.series import make_templates
from node.bench.series import write_series as write_bench_series
from node.bench.storage_servers import CALLED, start_node
from tests.support.receiver_process import ReceiverProcess
from tests.support.senders import data_set_of, needs_dcmtk

LIMIT_MB = 600
"""What the serving process may take whatever is sent; 120 MB of it are Python and its libraries."""
SENDERS = 20
HOSTILE_SECONDS = float(os.environ.get("HOSTILE_SECONDS", "6"))
SERIES = int(os.environ.get("SERIES", "6"))
"""Series of the run that is to be flat; the first half of them fills what is remembered."""
GROWTH_MB = 12
"""Memory that the second half of the series may add."""
EACH_MB = 40
"""Bytes of each unfinished object: all of them are more than the limit."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ReceiverProcess]:
    one = ReceiverProcess(tmp_path / "state")
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
    served: ReceiverProcess, tmp_path: Path, write_series: Any, raw_peer: Any
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
    peak = served.memory_mb("VmHWM")
    sys.stdout.write(f"peak {peak:.0f} MB\n")
    assert peak < LIMIT_MB
    ends_at = time.monotonic() + 10
    while list(served.state.rglob("*.part")):
        assert time.monotonic() < ends_at, "unfinished objects are still there"
        time.sleep(0.1)
    assert served.child.poll() is None


# ---- every kind of hostility at once -------------------------------------------------------------


def _giant_pdus(connect: Any, port: int, draw: random.Random) -> None:
    with connect(port).associate() as peer:
        peer.send(struct.pack(">BxI", 4, draw.choice((0xFFFFFFFF, 1 << 30, (1 << 20) + 1))))
        peer.send(bytes(1 << 20))


def _half_pdus(connect: Any, port: int, draw: random.Random) -> None:
    with connect(port).associate() as peer:
        command = peer.command(
            1, sop_class=MRImageStorage, sop_instance=f"1.9.{draw.getrandbits(30)}"
        )
        peer.send(
            peer.fragment(3, command) + peer.fragment(0, bytes(100_000))[: draw.randrange(100_000)]
        )
        time.sleep(0.2)


def _trickle(connect: Any, port: int, draw: random.Random) -> None:
    with connect(port).associate() as peer:
        for _ in range(20):
            peer.send(draw.randbytes(1))
            time.sleep(0.02)


def _rejected_contexts(connect: Any, port: int, draw: random.Random) -> None:
    with connect(port) as peer:
        contexts = [(f"1.2.3.{n}", ("1.2.840.10008.1.2.1", "1.2.3.4")) for n in range(128)]
        peer.send(peer.request(*contexts)).read()
        command = peer.command(1, sop_class=MRImageStorage, sop_instance="1.9")
        peer.send(peer.fragment(3, command, draw.choice((1, 3, 255))))


def _associations(connect: Any, port: int, _: random.Random) -> None:
    for _n in range(10):
        with connect(port) as peer:
            peer.send(peer.request())


def _noise(connect: Any, port: int, draw: random.Random) -> None:
    with connect(port).associate() as peer:
        peer.send(draw.randbytes(200_000))


def _large_commands(connect: Any, port: int, _: random.Random) -> None:
    with connect(port).associate() as peer:
        piece = peer.fragment(1, bytes(100_000))
        for _n in range(10):
            peer.send(piece)


def _small_bomb(connect: Any, port: int, draw: random.Random) -> None:
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    data = b"".join([*(deflate.compress(bytes(1 << 22)) for _ in range(20)), deflate.flush()])
    with connect(port).associate((MRImageStorage, (DeflatedExplicitVRLittleEndian,))) as peer:
        peer.link.settimeout(60)
        peer.store(data, f"1.9.{draw.getrandbits(30)}")


HOSTILE = (
    _giant_pdus, _half_pdus, _trickle, _rejected_contexts, _associations, _noise, _large_commands, _small_bomb,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * HOSTILE_SECONDS)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_good_sender_gets_through_twenty_that_do_all_that_is_wrong(
    served: ReceiverProcess, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    ends_at = time.monotonic() + HOSTILE_SECONDS

    def attack(number: int) -> int:
        draw, turns = random.Random(number), 0
        while time.monotonic() < ends_at:
            kind = HOSTILE[(number + turns) % len(HOSTILE)]
            with contextlib.suppress(OSError, AssertionError):  # refused or closed, as it should be
                kind(lambda p: raw_peer(p, source=f"127.0.0.{number + 10}"), served.port, draw)
            turns += 1
        return turns

    statuses: list[int] = []
    with ThreadPoolExecutor(SENDERS) as pool:
        attacks = [pool.submit(attack, n) for n in range(SENDERS)]
        for n, path in enumerate(write_series(tmp_path / "in", slices=40)):
            if time.monotonic() > ends_at and n > 4:
                break
            with raw_peer(served.port).associate() as peer:
                peer.link.settimeout(60)
                statuses.append(peer.store(data_set_of(path), path.stem))
        turns = sum(one.result() for one in attacks)
    peak = served.memory_mb("VmHWM")
    sys.stdout.write(f"{turns} attacks, {len(statuses)} good objects, peak {peak:.0f} MB\n")
    assert set(statuses) == {0}
    assert peak < LIMIT_MB
    assert served.child.poll() is None


# ---- many series ---------------------------------------------------------------------------------


@pytest.mark.servers
@needs_dcmtk
@pytest.mark.timeout(200 + 20 * SERIES)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_over_many_series_with_tracking_on(tmp_path: Path) -> None:
    node = start_node(tmp_path)
    try:
        templates, memory = make_templates(32), []
        for number in range(1, SERIES + 1):
            folder = write_bench_series(templates, number, tmp_path / "out")
            command = ["storescu", "-aec", CALLED, "+sd", "127.0.0.1", str(node.port), str(folder)]
            subprocess.run(command, env={**os.environ, "TCP_NODELAY": "1"}, check=True, timeout=60)
            memory.append(node.memory_mb())
    finally:
        node.stop()
    sys.stdout.write(f"MB after each series: {[round(m) for m in memory]}\n")
    assert memory[-1] - memory[SERIES // 2 - 1] < GROWTH_MB
