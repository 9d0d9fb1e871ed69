"""Which series may leave, which first, and that what is not delivered with proof never does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.config.retention import RetentionConfig
from node.journal.purge_rows import Purgeable, Quarantined
from node.journal.rows import SeriesKey
from node.journal.states import PURGEABLE, SeriesState
from node.retention.plan import (
    DAY_S,
    GB,
    REST_S,
    Space,
    blocked,
    by_age,
    by_space,
    protected,
    quarantine,
)

S = SeriesState
NOW = 1_700_000_000.0
FULL = Space(used=10 * GB, free=0)


def _series(number: int, state: S = S.DELIVERED, days: float = 30, **changes: Any) -> Purgeable:
    at = NOW - days * DAY_S
    series = Purgeable(
        number, SeriesKey("1.1", f"1.2.{number}"), state, "", "", at, at, 64, GB, (),
        at if state is S.DELIVERED else None, (), (), (), on_its_way=False,
    )  # fmt: skip
    return replace(series, **changes)


def _left(found: Sequence[Purgeable], space: Space = FULL, **limits: float) -> list[int]:
    measured = [(s, s.bytes) for s in found]
    config = RetentionConfig(**limits)
    chosen = [*by_age(measured, config, NOW), *by_space(measured, config, space, NOW)]
    return [c.series.id for c in chosen]


STAYING = (
    *(_series(1, state, days=9999) for state in PURGEABLE if state not in {S.DELIVERED, S.SKIPPED, S.SUPERSEDED}),
    _series(2, days=9999, proven_at=None),
    _series(3, days=9999, unproven=("pacs",), proven_at=None),
    _series(4, days=9999, withdrawals=("pacs",)),
    _series(5, days=9999, on_its_way=True),
    _series(6, days=9999, fault="disk"),
    _series(7, S.SKIPPED, days=9999, withdrawals=("pacs",)),
    _series(8, S.SUPERSEDED, days=9999, on_its_way=True),
)  # fmt: skip


@pytest.mark.parametrize("series", STAYING, ids=lambda s: f"{s.id} {s.state}")
def test_what_is_not_delivered_with_proof_stays_whatever_its_age_and_the_disk(
    series: Purgeable,
) -> None:
    everything = {"delivered_days": 1, "skipped_days": 1, "keep_gb": 0.001, "free_gb": 9000}
    assert _left([series], **everything) == []
    assert protected(series)


def test_nothing_leaves_by_default() -> None:
    assert _left([_series(1, days=9999), _series(2, S.SKIPPED, days=9999)]) == []
    assert RetentionConfig().is_off
    assert not RetentionConfig(free_gb=5).is_off


def test_age_counts_from_the_proof_and_from_the_last_change() -> None:
    young = _series(1, days=10)
    old_but_proved_late = _series(2, days=100, proven_at=NOW - 2 * DAY_S)
    assert _left([young, old_but_proved_late], delivered_days=9) == [1]
    assert _left([young, old_but_proved_late], delivered_days=11) == []


def test_skipped_series_have_an_age_of_their_own() -> None:
    series = [_series(1, days=10), _series(2, S.SKIPPED, days=10)]
    assert _left(series, skipped_days=5) == [2]
    assert _left(series, delivered_days=5) == [1]


def test_what_can_never_be_eligible_leaves_first_then_the_oldest() -> None:
    series = [_series(1, days=5), _series(2, days=9), _series(3, S.SKIPPED, days=1), _series(4, days=7)]  # fmt: skip
    assert _left(series, keep_gb=7.5) == [3, 2, 4]
    assert _left(series, keep_gb=9.5) == [3]
    assert _left(series, Space(0, 2 * GB), free_gb=4) == [3, 2]
    assert _left(series, Space(0, 4 * GB), free_gb=4) == []


def test_a_series_rests_before_the_disk_takes_it() -> None:
    series = [_series(1, days=(REST_S - 60) / DAY_S), _series(2, days=(REST_S + 60) / DAY_S)]
    assert _left(series, keep_gb=1) == [2]


def test_a_person_may_purge_what_failed_and_not_what_is_still_to_be_sent() -> None:
    assert [blocked(s) == "" for s in STAYING[-5:]] == [False, False, True, False, False]
    assert not blocked(_series(1, S.FAILED))


def _object(number: int, days: float) -> Quarantined:
    at = NOW - days * DAY_S
    return Quarantined(number, SeriesKey("", ""), 1, Path(f"{number}.dcm"), GB, at)


def test_quarantine_is_bounded_by_age_and_size_oldest_first() -> None:
    objects = [_object(n, days=10 - n) for n in range(6)]

    def left(**limits: float) -> list[int]:
        groups = quarantine(objects, RetentionConfig(**limits), NOW)
        return [o.rowid for group, _ in groups for o in group]

    assert left() == []
    assert left(quarantine_days=8.5) == [0, 1]
    assert left(quarantine_gb=2.5) == [0, 1, 2, 3]
    assert left(quarantine_days=8.5, quarantine_gb=3.5) == [0, 1, 2]
    assert left(quarantine_gb=100) == []
