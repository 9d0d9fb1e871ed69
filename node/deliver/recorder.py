"""What becomes of one delivery: its move in the journal, its wait, the end of its patience, and the event of it.

One recorder per destination; it sends and asks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from node.backoff import days_text, wait_s
from node.clock import Clock
from node.config.destinations import DestinationConfig
from node.deliver.changes import Changes
from node.deliver.port import UNREACHABLE, StorageCheck
from node.deliver.reasons import reason_line
from node.event_log import Seldom
from node.events import (
    DeliveryConfirmed,
    DeliveryFailed,
    DeliverySent,
    DeliverySuperseded,
    DeliveryWaits,
    Log,
    SeriesEnded,
    StepFailed,
)
from node.faults import describe_error, error_trace
from node.journal.deliveries import SUPERSEDED
from node.journal.file import is_damage
from node.journal.journal import Journal
from node.journal.rows import RESULT, DeliveryRow
from node.journal.states import DeliveryEvent, DeliveryState, SeriesState

LONGEST_HOLD_S: Final = 30.0
"""Longest time for which a peer that did not answer is left in peace by the deliveries behind the first."""

_E, _D = DeliveryEvent, DeliveryState
GIVE_UP: Final = MappingProxyType(
    {
        _D.PENDING: _E.PERMANENT_FAILURE,
        _D.WAITING: _E.PATIENCE_EXHAUSTED,
        _D.SENT: _E.PATIENCE_EXHAUSTED,
    }
)
"""The event that ends a delivery without success, by the states that are not an end."""


@dataclass(slots=True)
class Recorder:
    """Records what happened to the deliveries of one destination. `spread` gives 0…1 for the jitter.

    hold_until: seconds of the monotonic clock up to which the destination is left in peace.
    """

    journal: Journal
    config: DestinationConfig
    clock: Clock
    spread: Callable[[], float]
    log: Log
    changes: Changes
    hold_until: float = -math.inf
    _is_new: Seldom = field(init=False)

    def __post_init__(self) -> None:
        self._is_new = Seldom(self.clock.monotonic)

    def is_held(self) -> bool:
        """Return whether the destination is left in peace."""
        return self.clock.monotonic() < self.hold_until

    # --- sending ---

    def superseded(self, row: DeliveryRow) -> None:
        """End a delivery whose result was replaced before it was sent."""
        detail = {"reason": SUPERSEDED, "because": row.because}
        self.journal.deliveries.advance(row.id, _E.SUPERSEDED, detail=detail)
        self.changes("superseded", DeliverySuperseded(self.config.name, row.result_id))

    def sent(self, row: DeliveryRow, objects: int) -> None:
        """Record that the destination has every object."""
        self.journal.deliveries.advance(row.id, _E.PEER_ACCEPTED, detail={"objects": objects})
        event = DeliverySent(self.config.name, row.result_id, row.kind, objects, row.tries + 1)
        self.changes("sent", event)

    def waits(
        self,
        row: DeliveryRow,
        event: DeliveryEvent,
        detail: Mapping[str, object],
        *,
        unreachable: bool = False,
        asked_s: float = 0.0,
    ) -> None:
        """Let a delivery wait for its next try, or give it up when there is no patience left.

        asked_s: the wait for which the destination asks; kept up to the longest wait.
        """
        tries = row.tries + 1
        if unreachable:
            self._hold(tries)
        wait = self._wait_s(tries, asked_s)
        self.journal.deliveries.advance(
            row.id,
            event,
            detail=detail,
            next_try_at=self.clock.wall() + wait,
            unreachable=unreachable,
        )
        now = self.journal.deliveries.get(row.id)
        if now.waited_s >= self.config.patience_s:
            waited = days_text(now.waited_s)
            self.give_up(now, f"given up after {waited} and {tries} attempts: {detail['reason']}")
            return
        self._log_wait(row, str(detail["reason"]), tries, wait)

    def refused(self, row: DeliveryRow, detail: Mapping[str, object]) -> None:
        """End a delivery that the destination will not take."""
        self.journal.deliveries.advance(row.id, _E.PERMANENT_FAILURE, detail=detail)
        event = DeliveryFailed(self.config.name, row.result_id, row.kind, str(detail["reason"]))
        self.changes("failed", event)

    # --- proof ---

    def confirmed(self, row: DeliveryRow, check: StorageCheck) -> None:
        """Record that a delivery has arrived, or that no proof is to be had; then its series may be delivered."""
        detail: dict[str, object] = {"reason": check.text}
        found = check.value == "stored"
        if found:
            detail["proof"] = check.proof
        event = _E.PROOF_FOUND if found else _E.NO_PROOF_OFFERED
        self.journal.deliveries.advance(row.id, event, detail=detail)
        proof = check.proof if found else "unproven"
        self.changes(
            "confirmed",
            DeliveryConfirmed(self.config.name, row.result_id, row.kind, proof, check.text),
        )
        series = self.journal.series.get(row.series)
        if row.kind == RESULT and series.state is SeriesState.DELIVERED:
            seconds = round(max(0.0, self.clock.wall() - series.last_at), 2)
            self.log(SeriesEnded(row.series.series, series.state, "", seconds))

    def missing(self, row: DeliveryRow, check: StorageCheck, names: Sequence[str]) -> None:
        """Let a delivery of which objects are missing be sent again. names: the files that were asked for."""
        lost = check.missing or tuple(names)
        other = [name for name in row.accepted if name not in names]
        held = [*other, *(name for name in names if name not in lost)]
        self.journal.deliveries.record_outcomes(row.id, held, {})
        self.waits(row, _E.PROOF_MISSING, {"reason": check.text})

    def not_kept(self, row: DeliveryRow, check: StorageCheck) -> None:
        """End a delivery of which the destination took objects that it will not keep."""
        held = [name for name in row.accepted if name not in check.refused]
        self.journal.deliveries.record_outcomes(row.id, held, {**row.refused, **check.refused})
        self.refused(row, {"reason": reason_line(check.refused, held)})

    def awaits_report(self, row: DeliveryRow, check: StorageCheck) -> None:
        """Leave the delivery as sent until its report comes, or is late."""
        if row.waited_s >= self.config.patience_s:
            reason = (
                f"every object was accepted, but no report on storage commitment came within {days_text(row.waited_s)}; "
                "see that the PACS knows this node's address, or set proof"
            )
            self.give_up(row, reason)
            return
        until = self.clock.wall() + check.wait_s
        self.journal.deliveries.await_report(row.id, check.text, until)
        self._log_wait(row, check.text, row.tries, check.wait_s)

    def unanswered(self, row: DeliveryRow, check: StorageCheck) -> None:
        """Keep the delivery as sent and ask again; the objects are not sent again for want of an answer."""
        asked = row.fault_tries + 1
        if row.waited_s >= self.config.patience_s:
            self.give_up(
                row,
                f"every object was accepted, but {asked} questions did not confirm storage: {check.text}; "
                '`lumbar-node retry` starts over, proof = "none" at the destination asks nothing',
            )
            return
        reason = f"every object was accepted; storage is not verified yet: {check.text}"
        wait, away = self._wait_s(asked, check.wait_s), check.status in UNREACHABLE
        if away:
            self._hold(asked)
        until = self.clock.wall() + wait
        self.journal.deliveries.defer(row.id, reason, until, unreachable=away)
        self._log_wait(row, reason, row.tries, wait)

    # --- faults ---

    def put_off(self, row: DeliveryRow, error: Exception) -> None:
        """Put off a delivery for a fault that is none of the destination's, as long as there is patience."""
        if is_damage(error):
            raise error
        place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        reason = place + describe_error(error)
        step = f"deliver {self.config.name}"
        if self._is_new(reason):
            self.log(StepFailed(step, f"{reason}, result {row.result_id}", error_trace(error)))
        now = self.journal.deliveries.get(row.id)
        faults = now.fault_tries + 1
        if now.waited_s >= self.config.patience_s and now.state in GIVE_UP:
            waited = days_text(now.waited_s)
            self.give_up(now, f"given up after {waited} and {faults} attempts: {reason}")
        else:
            wait = self._wait_s(faults)
            self.journal.deliveries.defer(row.id, reason, self.clock.wall() + wait)
            self._log_wait(row, reason, faults, wait)

    def give_up(self, row: DeliveryRow, reason: str) -> None:
        """End a delivery without success."""
        self.journal.deliveries.advance(row.id, GIVE_UP[row.state], detail={"reason": reason})
        event = DeliveryFailed(self.config.name, row.result_id, row.kind, reason)
        self.changes("failed", event)

    # --- waits ---

    def _log_wait(self, row: DeliveryRow, reason: str, tries: int, wait: float) -> None:
        event = DeliveryWaits(
            self.config.name, row.result_id, row.kind, reason, tries, round(wait, 1)
        )
        self.changes("waiting", event)

    def _hold(self, tries: int) -> None:
        self.hold_until = self.clock.monotonic() + min(self._wait_s(tries), LONGEST_HOLD_S)

    def _wait_s(self, tries: int, asked_s: float = 0.0) -> float:
        first, longest = self.config.first_wait_seconds, self.config.max_wait_seconds
        return max(wait_s(tries, first, longest, self.spread()), min(asked_s, longest))
