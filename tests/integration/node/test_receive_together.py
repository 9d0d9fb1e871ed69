"""Four senders of one series at one time: in any order, repeated, and with other contents under the same UIDs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread

from node.journal.states import InstanceState
from tests.support.mr_series import KEY
from tests.support.senders import data_set_of

SENDERS: Final = 4


def _send(raw_peer: Any, port: int, objects: Sequence[tuple[str, bytes]]) -> list[int]:
    with raw_peer(port).associate() as peer:
        peer.link.settimeout(60)
        return [peer.store(data, uid) for uid, data in objects]


def _all_at_once(raw_peer: Any, port: int, shares: Sequence[Sequence[tuple[str, bytes]]]) -> None:
    with ThreadPoolExecutor(len(shares)) as pool:
        statuses = pool.map(lambda share: _send(raw_peer, port, share), shares)
        assert {status for share in statuses for status in share} == {0}


def _objects(paths: Sequence[Path]) -> list[tuple[str, bytes]]:
    return [(path.stem, data_set_of(path)) for path in paths]


def _every_row_has_its_file(node: Any) -> None:
    rows = [*node.journal.instances.of_series(KEY), *node.journal.instances.unused(KEY)]
    assert {r.path for r in rows} == set(node.files())


@pytest.mark.parametrize("seed", range(3))
def test_repeated_and_reordered_objects_are_stored_once_each(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any, seed: int
) -> None:
    node = listen()
    objects = _objects(write_series(tmp_path / "in", slices=12))
    draw = random.Random(seed)
    _all_at_once(
        raw_peer, node.port, [draw.sample(objects * 2, 2 * len(objects)) for _ in range(SENDERS)]
    )
    assert node.journal.series.get(KEY).instances == 12
    assert len(node.journal.instances.of_series(KEY)) == 12
    assert node.journal.instances.unused(KEY) == []
    ended = node.wait_for("AssociationEnded", SENDERS)
    assert sum(e["stored"] for e in ended) == 12
    assert sum(e["same"] for e in ended) == SENDERS * 24 - 12
    _every_row_has_its_file(node)


@pytest.mark.parametrize("seed", range(3))
def test_two_contents_under_one_uid_at_one_moment_are_both_kept_and_one_is_used(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any, seed: int
) -> None:
    node = listen()
    paths = write_series(tmp_path / "in", slices=6)
    others = []
    for path in paths:
        ds = dcmread(path)
        ds.PixelData = bytes(32 * [7])
        others.append(tmp_path / path.name)
        ds.save_as(others[-1])
    first, second = _objects(paths), _objects(others)
    draw = random.Random(seed)
    shares = [draw.sample(objects, len(objects)) for objects in (first, second, first, second)]
    _all_at_once(raw_peer, node.port, shares)
    stored = node.journal.instances.of_series(KEY)
    apart = node.journal.instances.unused(KEY)
    assert {r.sop_instance_uid for r in stored} == {uid for uid, _ in first}
    assert len(stored) == 6
    assert node.journal.series.get(KEY).instances == 6
    assert {r.sop_instance_uid for r in apart} == {uid for uid, _ in first}
    assert {r.state for r in apart} == {InstanceState.QUARANTINED}
    kept = {(r.sop_instance_uid, data_set_of(r.path)) for r in (*stored, *apart)}
    assert kept == {*first, *second}  # nothing that was acknowledged is lost
    _every_row_has_its_file(node)
