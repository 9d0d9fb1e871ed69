"""One object on its way to disk: written in few calls, whatever the system takes at a time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.errors import DiskFull
from node.store import incoming as incomings
from node.store.incoming import Incoming, Room

META, DATA = b"m" * 300, bytes(range(256)) * 1200


def test_pieces_are_complete_where_the_system_takes_a_part_of_each(
    tmp_path: Path, monkeypatch: Any
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda h, b: write(h, bytes(b)[:7]))
    monkeypatch.setattr(os, "writev", lambda h, p: write(h, b"".join(p)[:11]))
    one = Incoming(tmp_path, META)
    one.write(DATA[:1000])
    one.write(memoryview(DATA)[1000:3000])
    one.sync()
    assert one.path.read_bytes() == META + DATA[:3000]
    assert one.digest == hashlib.sha256(DATA[:3000]).hexdigest()
    assert one.file_bytes == len(META) + 3000
    with one.data_set() as file:
        assert file.read() == DATA[:3000]
    one.discard()
    assert list(tmp_path.iterdir()) == []


def test_object_without_a_data_set_has_its_meta_information(tmp_path: Path) -> None:
    one = Incoming(tmp_path, META)
    one.sync()
    assert one.path.read_bytes() == META
    one.discard()


def test_disk_begins_before_the_last_byte_has_come(tmp_path: Path, monkeypatch: Any) -> None:
    begun: list[int] = []
    monkeypatch.setattr(incomings, "begin_to_sync", lambda _, at: begun.append(at))
    one = Incoming(tmp_path, META)
    for at in range(0, len(DATA), 16_000):
        one.write(DATA[at : at + 16_000])
    one.discard()
    assert begun[0] == 0
    assert begun == sorted(set(begun))
    assert 2 <= len(begun) <= 5


def test_room_is_looked_at_after_so_many_bytes_and_after_a_while(
    tmp_path: Path, monkeypatch: Any
) -> None:
    space, looks, now = SimpleNamespace(f_bavail=20_000, f_frsize=1000), [0], [0.0]

    def look(_: object) -> SimpleNamespace:
        looks[0] += 1
        return space

    monkeypatch.setattr(os, "statvfs", look)
    monkeypatch.setattr(incomings.time, "monotonic", lambda: now[0])
    room = Room(tmp_path)
    for _ in range(41):
        room.take(200_000)
    assert looks[0] == 1
    room.take(200_000)
    assert looks[0] == 2
    now[0] = 1.0
    space.f_bavail = 15_000
    for _ in range(2):  # it stays full until there is space
        with pytest.raises(DiskFull, match="15 MB free"):
            room.take(1)
    space.f_bavail = 17_000
    room.take(1)
