"""What needs a person, by kind and reason: one line for 64 objects of one series, or for a thousand deliveries.

Everything is read; nothing here writes. No patient data: UIDs, names of destinations, counts, reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.clock import at_text
from node.journal.journal import Journal
from node.journal.rows import WITHDRAWAL, SeriesRow
from node.journal.states import DeliveryState, InstanceState, SeriesState
from node.observe.deliveries import attention as delivery_attention
from node.observe.deliveries import outdated

MOST_EXAMPLES: Final = 5
"""UIDs that one matter names; the count says how many there are."""
MOST_LINES: Final = 40
"""Matters that `status` prints for people; `status --json` has them all."""

_REMEDY: Final = {
    SeriesState.INCOMPLETE: "send what the reason names; `lumbar-node retry UID` judges the series as it is",
    SeriesState.FAILED: "`lumbar-node retry UID` tries again",
}
_UNUSED_REMEDY: Final = "`lumbar-node why UID`; send the series again in the right form"


@dataclass(frozen=True, slots=True)
class Matter:
    """Things that need a person for one reason.

    kind: delivery, withdrawal, fault, quarantined, series. subject: destination, step or series. count:
    deliveries, objects or series. uids: of results or series, some of them. next_try: ISO 8601, of the
    first that is tried again, None when none is. remedy: what to do, "" where the reason says it.
    """

    kind: str
    subject: str
    state: str
    reason: str
    remedy: str
    count: int = 1
    uids: tuple[str, ...] = ()
    next_try: str | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        when = "" if self.next_try is None else f", next try {self.next_try}"
        remedy = f"; {self.remedy}" if self.remedy else ""
        more = ", …" if self.count > 1 else ""
        named = f" ({self.uids[0]}{more})" if self.uids and self.uids[0] not in self.subject else ""
        what = f"{self.count} × {self.kind} {self.subject} {self.state}{named}"
        return f"{what}{when}: {self.reason}{remedy}"


def attention(journal: Journal) -> list[Matter]:
    """Everything that needs a person, grouped."""
    return [*_deliveries(journal), *_faults(journal), *_unused(journal), *_series(journal)]


def matter_lines(matters: Sequence[Matter]) -> list[str]:
    """Matters for people."""
    lines = [m.line for m in matters[:MOST_LINES]]
    if len(matters) > MOST_LINES:
        lines.append(f"… and {len(matters) - MOST_LINES} more; `lumbar-node status --json`")
    return lines


# ---- by kind -------------------------------------------------------------------------------------


def _deliveries(journal: Journal) -> Iterator[Matter]:
    unfinished = [s for s in DeliveryState if s is not DeliveryState.CONFIRMED]
    rows = journal.deliveries.in_states(*unfinished)
    yield from (of_delivery(e) for e in delivery_attention(rows))
    yield from (of_delivery(e) for e in outdated(journal.deliveries.held_outdated()))


def of_delivery(told: Mapping[str, Any]) -> Matter:
    """One entry of `delivery_view.attention` or `outdated`."""
    kind = "withdrawal" if told["kind"] == WITHDRAWAL else "delivery"
    said = "`lumbar-node retry" in told["reason"]  # a damaged result is made again, not sent again
    dead = told["state"] == DeliveryState.DEAD
    remedy = "`lumbar-node retry UID` sends again" if dead and not said else ""
    results = told["results"]
    return Matter(
        kind, told["destination"], told["state"], told["reason"], remedy,
        len(results), tuple(results[:MOST_EXAMPLES]), told["next_try"],
    )  # fmt: skip


def _faults(journal: Journal) -> Iterator[Matter]:
    rows = journal.series.with_faults()
    for (step, state, reason), found in _grouped(
        rows, lambda s: (s.fault_step, str(s.state), s.fault)
    ):
        next_try = at_text(min(s.try_at for s in found))
        yield Matter(
            "fault", step, state, reason, "it is tried again; the log says more",
            len(found), _uids(found), next_try,
        )  # fmt: skip


def _unused(journal: Journal) -> Iterator[Matter]:
    for key, counts in journal.instances.unused_counts().items():
        for (state, reason), count in counts.items():
            if state is InstanceState.QUARANTINED:
                subject = f"series {key.series or 'without a UID'}"
                yield Matter(
                    "quarantined", subject, str(state), reason, _UNUSED_REMEDY, count, (key.series,)
                )


def _series(journal: Journal) -> Iterator[Matter]:
    rows = journal.series.in_states(*_REMEDY)
    for (state, reason), found in _grouped(rows, lambda s: (str(s.state), s.reason)):
        others = " and others" if len(found) > 1 else ""
        subject, remedy = f"{found[0].key.series}{others}", _REMEDY[SeriesState(state)]
        yield Matter("series", subject, state, reason, remedy, len(found), _uids(found))


def _grouped(
    rows: Iterable[SeriesRow], key: Callable[[SeriesRow], tuple[str, ...]]
) -> Iterable[tuple[tuple[str, ...], list[SeriesRow]]]:
    groups: dict[tuple[str, ...], list[SeriesRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups.items()


def _uids(rows: Sequence[SeriesRow]) -> tuple[str, ...]:
    return tuple(r.key.series for r in rows[:MOST_EXAMPLES])
