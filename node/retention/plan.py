"""Which series and quarantined objects may leave, which must, and in which order. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.config.retention import RetentionConfig
from node.journal.purge_rows import Purgeable, Quarantined
from node.journal.states import SeriesState

DAY_S: Final = 86_400.0
GB: Final = 1_000_000_000
REST_S: Final = 3600.0
"""Time that a series stays after its last change whatever the disk needs: a late slice or the other reconstruction of
a study may still be judged with it."""
_NEVER_ELIGIBLE: Final = (SeriesState.SKIPPED, SeriesState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A series that is to be purged. bytes: with its results."""

    series: Purgeable
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Space:
    """What the disk holds. used: bytes of objects and results; free: of the disk."""

    used: int
    free: int


def protected(series: Purgeable) -> str:
    """Return why the node never purges a series by itself, "" if it may."""
    if series.fault:
        return f"a step waits to act on it: {series.fault}"
    if series.withdrawals:
        return f"a former result is still to be taken back from {_names(series.withdrawals)}"
    if series.on_its_way:
        return "a result is on its way"
    if series.state in _NEVER_ELIGIBLE:
        return ""
    if series.state is not SeriesState.DELIVERED:
        return f"it is {series.state}, not delivered"
    if series.unproven:
        return f"{_names(series.unproven)} gave no proof that it holds the result"
    return "" if series.proven_at is not None else "its result is not delivered everywhere"


def blocked(series: Purgeable) -> str:
    """Return why a person may not purge a series either, "" if they may: while anything is still to be sent."""
    if series.withdrawals:
        return f"a former result is still to be taken back from {_names(series.withdrawals)}"
    if series.on_its_way:
        return "a result is on its way; wait until it is delivered"
    return ""


def _names(destinations: Sequence[str]) -> str:
    return ", ".join(destinations)


def leaving_since(series: Purgeable) -> float:
    """Return from when the age of a series counts: the last proof of storage, or its last change."""
    return series.state_at if series.proven_at is None else max(series.proven_at, series.state_at)


# ---- series --------------------------------------------------------------------------------------


def by_age(
    found: Iterable[tuple[Purgeable, int]], limits: RetentionConfig, now: float
) -> Iterator[Chosen]:
    """Yield the series whose time is over. found: with bytes. now: seconds since 1970."""
    for series, size in found:
        never_eligible = series.state in _NEVER_ELIGIBLE
        days = limits.skipped_days if never_eligible else limits.delivered_days
        age_s = now - leaving_since(series)
        if days and not protected(series) and age_s >= days * DAY_S:
            what = str(series.state) if never_eligible else "delivered with proof"
            yield Chosen(series, size, f"{what} {age_s / DAY_S:.0f} days ago")


def by_space(
    found: Iterable[tuple[Purgeable, int]], limits: RetentionConfig, space: Space, now: float
) -> Iterator[Chosen]:
    """Yield series until the disk is as empty as it has to be: first those that can never be eligible, then the oldest."""
    rest, reason = excess(limits, space)
    if rest <= 0:
        return
    ready = [
        (s, size)
        for s, size in found
        if size and not protected(s) and now - max(leaving_since(s), s.last_at) >= REST_S
    ]
    ready.sort(key=lambda pair: (pair[0].state not in _NEVER_ELIGIBLE, leaving_since(pair[0])))
    for series, size in ready:
        if rest <= 0:
            return
        yield Chosen(series, size, reason)
        rest -= size


def excess(limits: RetentionConfig, space: Space) -> tuple[int, str]:
    """Return how many bytes have to leave, and why."""
    above = space.used - int(limits.keep_gb * GB) if limits.keep_gb else 0
    below = int(limits.free_gb * GB) - space.free if limits.free_gb else 0
    if above >= below:
        return above, f"more than {limits.keep_gb:g} GB are kept"
    return below, f"less than {limits.free_gb:g} GB are free"


# ---- quarantine ----------------------------------------------------------------------------------


def quarantine(
    objects: Sequence[Quarantined], limits: RetentionConfig, now: float
) -> list[tuple[list[Quarantined], str]]:
    """Return quarantined objects that leave, with the reason, oldest first. objects: oldest first."""
    old = [
        o
        for o in objects
        if limits.quarantine_days and now - o.received_at >= limits.quarantine_days * DAY_S
    ]
    rest = objects[len(old) :]
    above = sum(o.bytes for o in rest) - int(limits.quarantine_gb * GB)
    over: list[Quarantined] = []
    for one in rest if limits.quarantine_gb else ():
        if above <= 0:
            break
        over.append(one)
        above -= one.bytes
    chosen = [
        (old, f"quarantined for more than {limits.quarantine_days:g} days"),
        (over, f"more than {limits.quarantine_gb:g} GB are quarantined"),
    ]
    return [(group, reason) for group, reason in chosen if group]
