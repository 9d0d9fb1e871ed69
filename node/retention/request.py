"""What a person wants to be purged: named series, old ones, what `[retention]` says, or the quarantine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.config.retention import RetentionConfig
from node.errors import UnknownUid
from node.journal.journal import Journal
from node.journal.purge_rows import Purgeable, Quarantined
from node.journal.states import PURGEABLE, SeriesState
from node.retention import plan
from node.retention.plan import Chosen, Space
from node.store.sizes import folder_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What would leave, and what was named and stays: UID and reason."""

    series: tuple[Chosen, ...] = ()
    quarantine: tuple[tuple[tuple[Quarantined, ...], str], ...] = ()
    staying: tuple[tuple[str, str], ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes that would leave."""
        objects = sum(o.bytes for group, _ in self.quarantine for o in group)
        return objects + sum(c.bytes for c in self.series)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would leave."""
        return not self.series and not self.quarantine


def named(journal: Journal, uids: Sequence[str]) -> Plan:
    """Plan to purge the series that these UIDs name, in whatever state, unless something is still to be sent."""
    chosen: dict[int, Chosen] = {}
    staying: list[tuple[str, str]] = []
    for uid in uids:
        try:
            rows = journal.series.find(uid)
        except UnknownUid as error:
            staying.append((uid, str(error).removeprefix(f"{uid} ")))
            continue
        for row in rows:
            found = journal.purges.candidate(row.id)
            why = _why_not(row.state) if found is None else plan.blocked(found)
            if found is None or why:
                staying.append((row.key.series, why))
            else:
                chosen[row.id] = Chosen(found, _bytes(found), f"asked for{_doubts(found)}")
    return Plan(tuple(chosen.values()), staying=tuple(staying))


def _why_not(state: SeriesState) -> str:
    return (
        "it is purged already"
        if state is SeriesState.PURGED
        else f"it is {state}; wait until it is done"
    )


def _doubts(series: Purgeable) -> str:
    """Return what a person should know before a series leaves."""
    if series.undelivered:
        return f"; NOT delivered to {', '.join(series.undelivered)}"
    if series.unproven:
        return f"; no proof that {', '.join(series.unproven)} holds the result"
    return (
        ""
        if series.state in {SeriesState.DELIVERED, SeriesState.SKIPPED}
        else f"; it is {series.state}"
    )


def older(journal: Journal, before: float, states: Sequence[SeriesState]) -> Plan:
    """Plan to purge series in these states whose last change or last proof is older than `before`.

    Delivered ones only with a proof of every destination; of no state while something is still to be sent.
    """
    chosen = []
    for series in journal.purges.candidates(before):
        if series.state not in states or plan.leaving_since(series) > before:
            continue
        keeps = plan.protected if series.state is SeriesState.DELIVERED else plan.blocked
        if not keeps(series):
            chosen.append(Chosen(series, _bytes(series), f"{series.state}{_doubts(series)}"))
    return Plan(tuple(chosen))


PURGED_BY_STATE = tuple(s for s in PURGEABLE if s is not SeriesState.ENCODED)
"""States by which series may be purged; what is encoded has not reached every destination, and is named one by one."""


def by_limits(journal: Journal, limits: RetentionConfig, space: Space, now: float) -> Plan:
    """Plan what the service would purge by itself now."""
    found = [(s, _bytes(s)) for s in journal.purges.candidates()]
    old = list(plan.by_age(found, limits, now))
    gone = {c.series.id for c in old}
    left = Space(space.used - _sum(old), space.free + _sum(old))
    rest = [(s, size) for s, size in found if s.id not in gone]
    over = plan.by_space(rest, limits, left, now)
    groups = plan.quarantine(journal.purges.quarantined(), limits, now)
    return Plan((*old, *over), tuple((tuple(group), reason) for group, reason in groups))


def quarantined(journal: Journal, before: float | None) -> Plan:
    """Plan to purge quarantined objects that came before, or all."""
    objects = tuple(
        o for o in journal.purges.quarantined() if before is None or o.received_at <= before
    )
    return Plan(quarantine=((objects, "quarantined"),) if objects else ())


def _bytes(series: Purgeable) -> int:
    return series.bytes + sum(map(folder_bytes, series.folders))


def _sum(chosen: Iterable[Chosen]) -> int:
    return sum(c.bytes for c in chosen)
