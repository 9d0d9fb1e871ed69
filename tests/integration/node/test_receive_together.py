"""Four senders of one series at one time: in any order, repeated, and with other contents under the same UIDs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread

from node.errors import IllegalTransition
from node.journal.rows import SeriesKey
from node.journal.states import InstanceState, SeriesEvent, SeriesState
from node.retention.purge import Purger
from tests.support.mr_series import KEY
from tests.support.senders import data_set_of

SENDERS: Final = 4


def _send(raw_peer: Any, port: int, objects: Sequence[tuple[str, bytes]]) -> list[int]:
    with raw_peer(port).associate() as peer:
        peer.link.settimeout(60)
        return [peer.store(data, uid) for uid, data in objects]


def _statuses(raw_peer: Any, port: int, shares: Sequence[Sequence[tuple[str, bytes]]]) -> set[int]:
    with ThreadPoolExecutor(len(shares)) as pool:
        statuses = pool.map(lambda share: _send(raw_peer, port, share), shares)
        return {status for share in statuses for status in share}


def _all_at_once(raw_peer: Any, port: int, shares: Sequence[Sequence[tuple[str, bytes]]]) -> None:
    assert _statuses(raw_peer, port, shares) == {0}


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


def test_interleaved_series_and_late_objects_go_to_their_own_series(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    """Three series, object by object in turn over four associations, and the last of each much later."""
    node = listen()
    keys = [SeriesKey(KEY.study, f"1.2.{n}") for n in (31, 32, 33)]
    each = [_objects(write_series(tmp_path / key.series, series=key.series, slices=5)) for key in keys]  # fmt: skip
    turns = [one for turn in zip(*(objects[:4] for objects in each), strict=True) for one in turn]
    _all_at_once(raw_peer, node.port, [turns[n:] + turns[:n] for n in range(SENDERS)])
    for key in keys:
        assert node.journal.series.get(key).instances == 4
        node.journal.series.advance(key, SeriesEvent.SETTLED_INELIGIBLE)
        node.journal.series.advance(key, SeriesEvent.RULES_REJECT)
    _all_at_once(raw_peer, node.port, [[objects[4]] for objects in each])
    for key, objects in zip(keys, each, strict=True):
        series = node.journal.series.get(key)
        assert (series.state, series.instances) == (SeriesState.RECEIVING, 5)
        kept = {
            (r.sop_instance_uid, data_set_of(r.path)) for r in node.journal.instances.of_series(key)
        }
        assert kept == set(objects)


def test_objects_that_come_while_their_series_is_purged_are_kept_or_refused(
    listen: Any, tmp_path: Path, write_series: Any, raw_peer: Any
) -> None:
    node = listen()
    objects = _objects(write_series(tmp_path / "in", slices=8))
    _all_at_once(raw_peer, node.port, [objects])
    draw, purged = random.Random(1), 0
    shares = [draw.sample(objects * 6, 6 * len(objects)) for _ in range(SENDERS)]
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(_statuses, raw_peer, node.port, shares)
        while not sending.done():
            purged += _purged_once(node.journal)
        assert sending.result() <= {0, 0xA700}
    assert purged
    refused = node.events("ObjectRefused")
    assert {r["reason"] for r in refused} <= {"this object is being purged; send it again"}
    rows = [r for uid, _ in objects for r in node.journal.instances.named(uid)]
    assert len(rows) == len(objects)
    stored = [r for r in rows if r.state is InstanceState.STORED]
    assert {r.state for r in rows} <= {InstanceState.STORED, InstanceState.PURGED}
    assert not any(r.path.exists() for r in rows if r not in stored)
    # One that was refused may have its row; what was acknowledged has its file.
    assert sum(not r.path.exists() for r in stored) <= len(refused)
    _all_at_once(raw_peer, node.port, [objects])
    assert len(node.journal.instances.of_series(KEY)) == node.journal.series.get(KEY).instances == 8
    _every_row_has_its_file(node)


def _purged_once(journal: Any) -> bool:
    """Skip and purge the series as it is at this moment."""
    with suppress(IllegalTransition):
        journal.series.advance(KEY, SeriesEvent.SETTLED_INELIGIBLE)
        journal.series.advance(KEY, SeriesEvent.RULES_REJECT)
    seen = journal.purges.candidate(journal.series.get(KEY).id)
    if seen is None:
        return False
    with suppress(IllegalTransition):
        Purger(journal).series(seen, "asked for")
        return True
    return False
