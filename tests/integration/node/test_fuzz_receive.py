"""Mutated objects through reception's own code, and mutated PDUs on a real socket.

`FUZZ=10` sends 20,000 objects and 2,000 connections; a tenth of it is the default. Seeded: the same
inputs at every run of one size.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from dicomseg.errors import InputRefused
from dicomseg.read import header as headers
from dicomseg.read.series import assemble
from node.journal.states import InstanceState
from node.receive.association import OUT_OF_RESOURCES, SUCCESS
from node.receive.dimse import C_STORE_RQ, Command
from node.store import spool as spooling
from tests.support.mutations import (
    dialogue,
    encoded,
    mutated,
    mutated_pdus,
    plain,
    valid_objects,
)

SCALE: Final = int(os.environ.get("FUZZ", "1"))
OBJECTS: Final = 2_000 * SCALE
CONNECTIONS: Final = 200 * SCALE
GROWTH_MB: Final = 300
"""Memory that the complete run may add to the process."""

# ---- objects -------------------------------------------------------------------------------------


class _Sender:
    """What `ReceiveStep` knows of an association."""

    address, calling = "127.0.0.1", "FUZZ"
    stored = same = 0


def _meets(node: Any, syntax: str, sop: str, data: bytes) -> int:
    """Take one object through reception; returns the status."""
    command = Command(C_STORE_RQ, 1, MRImageStorage, sop, has_data=True)
    arrival = node.receiver.begin(_Sender, command, syntax)
    for at in range(0, len(data), 1000):
        arrival.write(memoryview(data)[at : at + 1000])
    status, comment = node.receiver.store(_Sender, command, syntax, arrival)
    arrival.close()
    assert status in {SUCCESS, OUT_OF_RESOURCES}
    assert comment or status == SUCCESS
    return int(status)


@contextmanager
def _healthy_sender(node: Any, raw_peer: Any, data: bytes, sop: str) -> Iterator[list[int]]:
    """Store a valid object again and again over the network, in associations of its own."""
    stop, statuses = threading.Event(), []

    def run() -> None:
        while not stop.wait(0.05):
            with raw_peer(node.port).associate() as peer:
                peer.link.settimeout(30)
                statuses.append(peer.store(data, sop))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture
def faults(monkeypatch: Any) -> list[str]:
    """Exceptions that ended a thread uncaught."""
    found: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(repr(args.exc_value)))
    return found


def _every_row_has_its_file(node: Any) -> dict[str, list[Path]]:
    """Compare journal and disk, both ways; returns the stored files by series."""
    stored, rows = defaultdict(list), []
    for series in node.journal.series.in_states():
        rows += node.journal.instances.unused(series.key)
        for row in node.journal.instances.of_series(series.key):
            rows.append(row)
            stored[series.key.series].append(row.path)
    assert {r.path for r in rows} == {p for p in node.files() if p.suffix == ".dcm"}
    assert [p for p in node.files() if p.suffix == ".part"] == []
    for row in rows:
        assert row.reason or row.state is InstanceState.STORED
    return stored


def _read_all(stored: dict[str, list[Path]]) -> Counter[str]:
    """Read and assemble what was accepted; nothing but a refusal may be raised."""
    answers: Counter[str] = Counter()
    for paths in stored.values():
        instances = []
        for path in paths:
            try:
                instances.append(headers.read_instance(path))
            except InputRefused:
                answers["refused by the reader"] += 1
        try:
            answers[type(assemble(instances)).__name__] += 1
        except InputRefused:
            answers["refused series"] += 1
    return answers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(300 * SCALE)
def test_every_mutated_object_is_stored_or_kept_apart_with_its_reason(
    listen: Any,
    raw_peer: Any,
    tmp_path: Path,
    write_series: Any,
    monkeypatch: Any,
    faults: list[str],
) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: None)  # durability has its own tests
    monkeypatch.setattr(spooling, "sync_folder", lambda _: None)
    node = listen()
    node.journal.database.connection.execute("PRAGMA synchronous = OFF")
    draw = random.Random(22)
    valid = valid_objects(write_series(tmp_path / "in", slices=1))
    healthy = encoded(
        *write_series(tmp_path / "well", series="1.7.7", slices=1), plain, ExplicitVRLittleEndian
    )[1]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statuses: Counter[int] = Counter()
    with _healthy_sender(node, raw_peer, healthy, "1.7.7.1") as served:
        for number in range(OBJECTS):
            syntax, data = draw.choice(valid)
            sop = b"1.2.3.1"
            if draw.random() < 0.9:  # else a known UID, to be compared
                sop = f"1.{10_000 + number:05}".encode()
                data = data.replace(b"1.2.3.1", sop)
            syntax, data = mutated(draw, syntax, data)
            statuses[_meets(node, syntax, sop.decode(), data)] += 1
    assert served
    assert set(served) == {SUCCESS}
    assert faults == []
    assert statuses[SUCCESS] == OBJECTS
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    assert grown < GROWTH_MB
    stored = _every_row_has_its_file(node)
    answers = _read_all(stored)
    reasons = Counter(r.reason.split(":")[0] for r in node.journal.instances.quarantined())
    sys.stdout.write(
        f"{OBJECTS} objects, {sum(map(len, stored.values()))} stored, {reasons.total()} kept apart, {len(served)} of a healthy sender, {grown:.0f} MB more; read: {dict(answers)}; {reasons.most_common(8)}\n"
    )


# ---- PDUs ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(300 * SCALE)
def test_every_mutated_connection_has_one_line_and_others_are_served(
    listen: Any,
    raw_peer: Any,
    tmp_path: Path,
    write_series: Any,
    monkeypatch: Any,
    faults: list[str],
) -> None:
    monkeypatch.setattr("node.receive.farewell.LINGER_S", 0.05)
    node = listen(idle_seconds=2, max_associations=30, max_associations_per_peer=30)
    paths = write_series(tmp_path / "in", slices=2)
    data = encoded(paths[0], plain, ExplicitVRLittleEndian)[1]
    healthy = encoded(paths[1], plain, ExplicitVRLittleEndian)[1]
    draw = random.Random(7)

    def attack(number: int) -> None:
        said = mutated_pdus(random.Random(number), dialogue(raw_peer, data))
        with raw_peer(node.port, source=f"127.1.{number // 200}.{number % 200 + 1}") as peer:
            peer.link.settimeout(10)
            for pdu in said:
                peer.send(pdu)
            if number % 3:
                peer.link.shutdown(1)
            while peer.read()[0]:
                pass

    with (
        _healthy_sender(node, raw_peer, healthy, "1.2.3.2") as served,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(attack, draw.sample(range(CONNECTIONS), CONNECTIONS)))
    ends_at = time.monotonic() + 20
    while len(_ends(node)) < CONNECTIONS:
        assert time.monotonic() < ends_at, "an end without a line"
        time.sleep(0.05)
    assert set(served) == {SUCCESS}
    assert faults == []
    lines = Counter(e["peer"] for e in _ends(node))
    assert set(lines.values()) == {1}
    assert len(lines) == CONNECTIONS
    _every_row_has_its_file(node)
    assert node.receiver.stop(5.0) == 0
    sys.stdout.write(f"{CONNECTIONS} connections, {len(served)} of a healthy sender\n")


def _ends(node: Any) -> list[dict[str, Any]]:
    ends = [*node.events("AssociationRefused"), *node.events("AssociationEnded")]
    return [e for e in ends if e["peer"] != "127.0.0.1"]
