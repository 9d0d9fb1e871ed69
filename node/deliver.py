"""Deliver: due deliveries to their destination, and the proof that they arrived.

Everything that must survive a kill is in the journal: pending, the time of the next try, sent. A kill
between sending and recording sends again, which is harmless, because UIDs are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.backoff import wait_s
from node.config import Config, DestinationConfig
from node.destinations import Destination, Outcome, Parcel, build, parcels_in
from node.errors import IllegalTransition
from node.events import SeriesEnded, unheard
from node.journal import Journal
from node.records import DeliveryRow
from node.states import DeliveryEvent, DeliveryState, SeriesState

RESOURCE_TRIES: Final = 5
"""Tries when the peer itself answers "out of resources" (0xA7nn): Orthanc says so for a full disk,
which passes, and for objects it will never take, which does not."""

LONGEST_HOLD_S: Final = 30.0
"""Longest time for which a peer that did not answer is left in peace by the deliveries behind the first."""

_E = DeliveryEvent


@dataclass(slots=True)
class Deliver:
    """The deliveries of one destination; each destination has its own, so that a dead one holds up
    no other. `spread` gives 0…1 for the jitter; `now` seconds since 1970.
    """

    journal: Journal
    config: DestinationConfig
    destination: Destination
    now: Callable[[], float]
    spread: Callable[[], float]
    hold_until: float = 0.0
    told: Callable[[object], None] = unheard

    def run_once(self) -> int:
        """Act on every due delivery once; returns how many moved."""
        moved = 0
        for row in self.journal.deliveries_due(self.now()):
            if row.destination != self.config.name:
                continue
            if self.now() < self.hold_until:
                break
            try:
                moved += self._act(row)
            except IllegalTransition:
                continue  # superseded meanwhile
        return moved

    def _act(self, row: DeliveryRow) -> bool:
        if row.state is DeliveryState.WAITING:
            self.journal.advance_delivery(row.id, _E.DUE)
        try:
            parcels = parcels_in(row.folder, self.config.objects)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}; retry the series with --force"
            if row.state is DeliveryState.SENT:
                self.journal.advance_delivery(row.id, _E.PROOF_MISSING, next_try_at=self.now())
                self.journal.advance_delivery(row.id, _E.DUE)
            self.journal.advance_delivery(row.id, _E.PERMANENT_FAILURE, detail={"reason": reason})
            return True
        if row.state is not DeliveryState.SENT and not self._send(row, parcels):
            return True
        self._prove(row, parcels)
        return True

    def _send(self, row: DeliveryRow, parcels: Sequence[Parcel]) -> bool:
        """Send; True when the peer took every object."""
        outcomes = self.destination.send(parcels)
        bad = [o for o in outcomes if o.answer != "accepted"]
        detail: dict[str, object] = {"reason": _reason(bad), "objects": len(parcels)}
        if not bad:
            self.journal.advance_delivery(
                row.id, _E.PEER_ACCEPTED, detail={"objects": len(parcels)}
            )
        elif any(o.answer == "permanent" for o in bad):
            self.journal.advance_delivery(row.id, _E.PERMANENT_FAILURE, detail=detail)
        else:
            self._wait(row, _E.TRANSIENT_FAILURE, detail, self._limit(bad))
            if all(o.status in {"no association", "no answer"} for o in bad):
                self.hold_until = self.now() + min(self._wait_s(row.tries + 1), LONGEST_HOLD_S)
        return not bad

    def _prove(self, row: DeliveryRow, parcels: Sequence[Parcel]) -> None:
        proof = self.destination.prove(parcels)
        detail = {"reason": proof.text}
        if proof.value == "found":
            self.journal.advance_delivery(row.id, _E.PROOF_FOUND, detail=detail)
        elif proof.value == "not_offered":
            self.journal.advance_delivery(row.id, _E.NO_PROOF_OFFERED, detail=detail)
        else:
            self._wait(row, _E.PROOF_MISSING, detail, self.config.max_tries)
            return
        series = self.journal.series(row.series)
        if series.state is SeriesState.DELIVERED:
            seconds = round(self.now() - series.last_at, 2)
            self.told(SeriesEnded(row.series.series, series.state, "", seconds))

    def _wait(
        self, row: DeliveryRow, event: DeliveryEvent, detail: Mapping[str, object], limit: int
    ) -> None:
        tries = row.tries + 1
        next_try_at = self.now() + self._wait_s(tries)
        self.journal.advance_delivery(row.id, event, detail=detail, next_try_at=next_try_at)
        if tries >= limit:
            reason = f"given up after {tries} tries: {detail['reason']}"
            self.journal.advance_delivery(row.id, _E.TRIES_EXHAUSTED, detail={"reason": reason})

    def _limit(self, bad: Sequence[Outcome]) -> int:
        no_resources = all(o.status.startswith("0xA7") for o in bad)
        return min(self.config.max_tries, RESOURCE_TRIES) if no_resources else self.config.max_tries

    def _wait_s(self, tries: int) -> float:
        given = self.config
        return wait_s(tries, given.first_wait_seconds, given.max_wait_seconds, self.spread())


def _reason(bad: Sequence[Outcome]) -> str:
    """One line: what was refused and why, the same reason once."""
    told: dict[str, list[str]] = {}
    for outcome in bad:
        reason = " ".join(filter(None, (outcome.status, outcome.text)))
        told.setdefault(reason, []).append(outcome.file)
    return "; ".join(f"{', '.join(files)}: {reason}" for reason, files in told.items())


def steps(
    config: Config,
    journal: Journal,
    now: Callable[[], float],
    spread: Callable[[], float],
    told: Callable[[object], None] = unheard,
) -> tuple[Deliver, ...]:
    """One `Deliver` per configured destination; what goes to no configured one is given up first."""
    close_unconfigured(journal, [d.name for d in config.destinations])
    return tuple(
        Deliver(journal, d, build(d, config.node.ae_title), now, spread, told=told)
        for d in config.destinations
    )


def close_unconfigured(journal: Journal, names: Sequence[str]) -> int:
    """Give up deliveries to destinations that are no longer configured; returns how many."""
    open_states = (DeliveryState.PENDING, DeliveryState.WAITING, DeliveryState.SENT)
    lost = [d for d in journal.deliveries_in(*open_states) if d.destination not in names]
    for row in lost:
        reason = f'destination "{row.destination}" is no longer configured'
        if row.state is DeliveryState.SENT:
            journal.advance_delivery(row.id, _E.NO_PROOF_OFFERED, detail={"reason": reason})
            continue
        event = _E.PERMANENT_FAILURE if row.state is DeliveryState.PENDING else _E.TRIES_EXHAUSTED
        journal.advance_delivery(row.id, event, detail={"reason": reason})
    return len(lost)
