"""What needs attention, grouped by kind and reason: one line for 64 objects or a thousand deliveries.

No patient data: UIDs, names of destinations, counts, reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.backoff import days_text
from node.clock import at_text
from node.journal.figures import Figures
from node.journal.journal import Journal
from node.journal.pulls import PullRow, PullState
from node.journal.rows import WITHDRAWAL, SeriesRow
from node.journal.states import DeliveryState, InstanceState, SeriesState
from node.observe.deliveries import ATTENTION_S, outdated
from node.observe.deliveries import attention as delivery_attention
from node.observe.protocol import HISTORY_S, REMEDY, ProtocolAlarm, protocol_alarms
from node.observe.pulls import needs_attention
from node.observe.text import state_text

MOST_EXAMPLES: Final = 5
"""UIDs that a matter names; its count is of all."""
MOST_LINES: Final = 40
"""Matters that `status` prints for people; `status --json` prints all."""

_REMEDY: Final = {
    SeriesState.INCOMPLETE: "send what the reason names, or `lumbar-node retry UID` to evaluate it as it is",
    SeriesState.FAILED: "`lumbar-node retry UID` processes it again",
}
_UNUSED_REMEDY: Final = "see `lumbar-node why UID`; correct and resend the series"


@dataclass(frozen=True, slots=True)
class Matter:
    """Things that need attention for one reason.

    kind: delivery, withdrawal, fault, protocol, pull, quarantined, series, selftest. subject: destination, step, sender or series. count:
    deliveries, objects or series. uids: some, of results or series. next_try: earliest,
    ISO 8601, None if none is retried. remedy: what to do, "" if the reason says it.
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
        ellipsis = ", …" if self.count > 1 else ""
        named = (
            f" ({self.uids[0]}{ellipsis})" if self.uids and self.uids[0] not in self.subject else ""
        )
        what = f"{self.count} × {self.kind} {self.subject} {state_text(self.state)}{named}"
        return f"{what}{when}: {self.reason}{remedy}"


def attention(journal: Journal) -> list[Matter]:
    """Return everything that needs attention, grouped."""
    return [
        *_deliveries(journal),
        *_faults(journal),
        *_protocols(journal),
        *_pulls(journal),
        *_unused(journal),
        *_series(journal),
    ]


def matter_lines(matters: Sequence[Matter]) -> list[str]:
    """Return matters as lines for people."""
    lines = [m.line for m in matters[:MOST_LINES]]
    if len(matters) > MOST_LINES:
        lines.append(f"… and {len(matters) - MOST_LINES} more; `lumbar-node status --json`")
    return lines


# ---- by kind -------------------------------------------------------------------------------------


def _deliveries(journal: Journal) -> Iterator[Matter]:
    unfinished = [s for s in DeliveryState if s is not DeliveryState.CONFIRMED]
    rows = journal.deliveries.in_states(*unfinished)
    yield from (delivery_matter(e) for e in delivery_attention(rows))
    yield from (delivery_matter(e) for e in outdated(journal.withdrawals.outdated()))


def delivery_matter(entry: Mapping[str, Any]) -> Matter:
    """Return an entry of `deliveries.attention` or `outdated` as a matter."""
    kind = "withdrawal" if entry["kind"] == WITHDRAWAL else "delivery"
    # A damaged result is made again, not sent again.
    has_remedy = "`lumbar-node retry" in entry["reason"]
    dead = entry["state"] == DeliveryState.DEAD
    remedy = "`lumbar-node retry UID` sends it again" if dead and not has_remedy else ""
    waited_s = float(entry.get("waited_s", 0.0))
    if not dead and waited_s >= ATTENTION_S:
        name = entry["destination"]
        remedy = f"tried for {days_text(waited_s)}; `lumbar-node echo {name}` asks it"
    results = entry["results"]
    return Matter(
        kind, entry["destination"], entry["state"], entry["reason"], remedy,
        len(results), tuple(results[:MOST_EXAMPLES]), entry["next_try"],
    )  # fmt: skip


def _faults(journal: Journal) -> Iterator[Matter]:
    rows = journal.series.with_faults()
    for (step, state, reason), group in _grouped(
        rows, lambda s: (s.fault_step, str(s.state), s.fault)
    ):
        next_try = at_text(min(s.try_at for s in group))
        yield Matter(
            "fault", step, state, reason, "it is retried; see the log",
            len(group), _uids(group), next_try,
        )  # fmt: skip


def _protocols(journal: Journal) -> Iterator[Matter]:
    for alarm in current_alarms(journal):
        yield Matter(
            "protocol", alarm.where, "not eligible any more", alarm.sentence, REMEDY, alarm.skipped
        )


def current_alarms(journal: Journal) -> list[ProtocolAlarm]:
    """Return the senders whose series stopped being eligible."""
    now = journal.database.now()
    return protocol_alarms(Figures(journal.database).judged_since(now - HISTORY_S), now)


def _pulls(journal: Journal) -> Iterator[Matter]:
    rows = [
        r
        for r in journal.pulls.in_states(PullState.WAITING, PullState.FAILED)
        if needs_attention(r)
    ]
    groups: dict[tuple[str, ...], list[PullRow]] = {}
    for row in rows:
        groups.setdefault((row.source, str(row.state), row.reason), []).append(row)
    for (source, state, reason), group in groups.items():
        failed = state == PullState.FAILED
        remedy = (
            "`lumbar-node pull UID` asks again"
            if failed
            else f"`lumbar-node echo {source}` asks it"
        )
        next_try = None if failed else at_text(min(r.try_at for r in group))
        uids = tuple(r.study for r in group[:MOST_EXAMPLES])
        yield Matter("pull", source, state, reason, remedy, len(group), uids, next_try)
    for name, rule in journal.pulls.rules().items():
        if rule.tries:
            yield Matter(
                "pull", f"rule {name}", "waiting", rule.reason, "check the source", 1, (), at_text(rule.try_at)
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
    for (state, reason), group in _grouped(rows, lambda s: (str(s.state), s.reason)):
        others = " and others" if len(group) > 1 else ""
        subject, remedy = f"{group[0].key.series}{others}", _REMEDY[SeriesState(state)]
        yield Matter("series", subject, state, reason, remedy, len(group), _uids(group))


def _grouped(
    rows: Iterable[SeriesRow], key: Callable[[SeriesRow], tuple[str, ...]]
) -> Iterable[tuple[tuple[str, ...], list[SeriesRow]]]:
    groups: dict[tuple[str, ...], list[SeriesRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups.items()


def _uids(rows: Sequence[SeriesRow]) -> tuple[str, ...]:
    return tuple(r.key.series for r in rows[:MOST_EXAMPLES])
