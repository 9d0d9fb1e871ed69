"""Deliver: due deliveries to their destination, and the proof that they arrived.

Everything that must survive a kill is in the journal: pending, the time of the next try, which files were
taken, sent. A kill between sending and recording sends again, which is harmless, because UIDs are fixed.
A fault of one delivery, of whatever kind, is that delivery's: it waits or is given up, the next one goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from node.backoff import wait_s
from node.config.destinations import DestinationConfig
from node.config.sections import Config
from node.deliver.factory import build
from node.deliver.forms import prepare, sent_names
from node.deliver.port import (
    UNREACHABLE,
    Destination,
    Outcome,
    ResultFile,
    StorageCheck,
)
from node.deliver.reasons import outcome_words, reason_line
from node.errors import DamagedResult, IllegalTransition
from node.events import Log, SeriesEnded, StepFailed, noop_log
from node.faults import describe_error, error_trace
from node.journal.deliveries import SUPERSEDED
from node.journal.file import is_damage
from node.journal.journal import Journal
from node.journal.rows import RESULT, WITHDRAWAL, DeliveryRow
from node.journal.states import DeliveryEvent, DeliveryState, SeriesState
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials

RESOURCE_TRIES: Final = 5
"""Tries when the peer itself answers "out of resources" (0xA7nn): Orthanc says so for a full disk,
which passes, and for objects it will never take, which does not."""

LONGEST_HOLD_S: Final = 30.0
"""Longest time for which a peer that did not answer is left in peace by the deliveries behind the first."""

WITHDRAWALS_S: Final = 2.0
"""Time between two looks for superseded results; the look grows with their number over the years."""

_E, _D = DeliveryEvent, DeliveryState
_GIVE_UP: Final = MappingProxyType(
    {
        _D.PENDING: _E.PERMANENT_FAILURE,
        _D.WAITING: _E.PATIENCE_EXHAUSTED,
        _D.SENT: _E.PATIENCE_EXHAUSTED,
    }
)
_HIDDEN: Final = StorageCheck(
    "unsupported", "a withdrawal is not verified: a peer that acts on it may hide it"
)


@dataclass(slots=True)
class DeliverStep:
    """The deliveries of one destination; each destination has its own, so that a dead one holds up
    no other. `spread` gives 0…1 for the jitter; `now` seconds since 1970.
    """

    journal: Journal
    config: DestinationConfig
    destination: Destination
    now: Callable[[], float]
    spread: Callable[[], float]
    state: StateDirectory
    held_at: float = 0.0
    hold_until: float = 0.0
    looked_at: float = 0.0
    log: Log = noop_log

    def run_once(self) -> int:
        """Act on every due delivery once; returns how many moved."""
        moved = 0
        for row in (
            () if self._held() else self.journal.deliveries.due(self.now(), self.config.name)
        ):
            if self._held():
                break
            try:
                moved += self._act(row)
            except IllegalTransition:
                continue  # superseded meanwhile
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this delivery's
                with suppress(IllegalTransition):
                    self._put_off(row, error)
        return moved + self._withdrawals()

    def _held(self) -> bool:
        """Whether the destination is left in peace; not after a clock that was set back."""
        return self.held_at <= self.now() < self.hold_until

    def _withdrawals(self) -> int:
        """Make the withdrawals that are wanted since the last look; returns how many."""
        age_s = self.now() - self.looked_at
        if not self.config.withdraw or 0.0 <= age_s < WITHDRAWALS_S:
            return 0
        self.looked_at = self.now()
        return self.journal.deliveries.open_withdrawals(self.config.name)

    def _act(self, row: DeliveryRow) -> bool:
        if row.kind == RESULT and row.because:
            detail = {"reason": SUPERSEDED, "because": row.because}
            self.journal.deliveries.advance(row.id, _E.SUPERSEDED, detail=detail)
            return True
        if row.state is _D.WAITING:
            self.journal.deliveries.advance(row.id, _E.DUE)
            row = replace(row, state=_D.PENDING, fault_tries=0)
        try:
            files = self._files(row)
        except DamagedResult as error:
            self._give_up(row, str(error))
            return True
        try:
            return self._deliver(row, files)
        finally:
            shutil.rmtree(self._outgoing, ignore_errors=True)

    def _deliver(self, row: DeliveryRow, files: Sequence[ResultFile]) -> bool:
        if row.state is _D.SENT:
            return self._verify(row, files)
        if self._send(row, files):
            self._verify(replace(row, state=_D.SENT, fault_tries=0), files)
        return True

    def _files(self, row: DeliveryRow) -> tuple[ResultFile, ...]:
        """Files as they are sent, or the note that takes back what was delivered. Raises `DamagedResult`."""
        sends, outgoing = self.config.sends, self._outgoing
        names = sent_names(row.folder, sends)
        if row.kind == RESULT or not row.because:
            return prepare(row.folder, names, outgoing, compress=sends.compress == "rle")
        from node.deliver.withdrawal import find_or_write_note  # noqa: PLC0415 - it encodes, and is seldom needed

        held = next(
            d.accepted
            for d in self.journal.deliveries.of_series(row.series)
            if (d.result_id, d.destination, d.kind) == (row.result_id, row.destination, RESULT)
        )
        created = datetime.fromtimestamp(self.now(), UTC).astimezone()
        files = prepare(row.folder, held or names, outgoing)
        notes = self.state.withdrawals
        return (find_or_write_note(row.folder.name, row.because, files, notes, created),)

    @property
    def _outgoing(self) -> Path:
        return self.state.outgoing / self.config.name

    # --- sending ---

    def _send(self, row: DeliveryRow, files: Sequence[ResultFile]) -> bool:
        """Send what was neither taken nor refused before; True when the peer has every object."""
        settled = {*row.accepted, *row.refused}
        unsettled = [p for p in files if p.name not in settled]
        outcomes = self.destination.send(unsettled) if unsettled else ()
        accepted = (*row.accepted, *(o.file for o in outcomes if o.disposition == "accepted"))
        final = [o for o in outcomes if o.disposition == "permanent"]
        refused = {**row.refused, **{o.file: outcome_words(o) for o in final}}
        self.journal.deliveries.record_outcomes(row.id, accepted, refused)
        later = [o for o in outcomes if o.disposition == "transient"]
        detail: dict[str, object] = {
            "reason": reason_line(refused | {o.file: outcome_words(o) for o in later}, accepted),
            "objects": len(files),
        }
        if later:
            self._wait(row, _E.TRANSIENT_FAILURE, detail, self._limit(later))
            if all(o.status in UNREACHABLE for o in outcomes):
                self._hold(row.tries + 1)
        elif refused:
            self.journal.deliveries.advance(row.id, _E.PERMANENT_FAILURE, detail=detail)
        else:
            self.journal.deliveries.advance(
                row.id, _E.PEER_ACCEPTED, detail={"objects": len(files)}
            )
        return not later and not refused

    def _wait(
        self, row: DeliveryRow, event: DeliveryEvent, detail: Mapping[str, object], limit: int
    ) -> None:
        tries = row.tries + 1
        next_try_at = self.now() + self._wait_s(tries)
        self.journal.deliveries.advance(row.id, event, detail=detail, next_try_at=next_try_at)
        if tries >= limit:
            reason = f"failed after {tries} attempts: {detail['reason']}"
            self.journal.deliveries.advance(
                row.id, _E.PATIENCE_EXHAUSTED, detail={"reason": reason}
            )

    def _limit(self, later: Sequence[Outcome]) -> int:
        no_resources = all(o.status.startswith("0xA7") for o in later)
        return min(self.config.max_tries, RESOURCE_TRIES) if no_resources else self.config.max_tries

    # --- proof ---

    def _verify(self, row: DeliveryRow, files: Sequence[ResultFile]) -> bool:
        """Ask whether what was sent has arrived; False when there was no answer that says so."""
        check = _HIDDEN if row.kind == WITHDRAWAL else self.destination.verify_stored(files)
        detail = {"reason": check.text}
        if check.value == "unknown":
            self._ask_later(row, check)
            return False
        if check.value == "missing":
            missing = check.missing or tuple(p.name for p in files)
            other = [name for name in row.accepted if name not in {p.name for p in files}]
            held = [*other, *(p.name for p in files if p.name not in missing)]
            self.journal.deliveries.record_outcomes(row.id, held, {})
            self._wait(row, _E.PROOF_MISSING, detail, self.config.max_tries)
            return True
        event = _E.PROOF_FOUND if check.value == "stored" else _E.NO_PROOF_OFFERED
        self.journal.deliveries.advance(row.id, event, detail=detail)
        series = self.journal.series.get(row.series)
        if row.kind == RESULT and series.state is SeriesState.DELIVERED:
            seconds = round(max(0.0, self.now() - series.last_at), 2)
            self.log(SeriesEnded(row.series.series, series.state, "", seconds))
        return True

    def _ask_later(self, row: DeliveryRow, check: StorageCheck) -> None:
        """Keep the delivery as sent and ask again; the objects are not sent again for want of an answer."""
        asked = row.fault_tries + 1
        if asked >= self.config.max_tries:
            self._give_up(
                row,
                f"every object was accepted, but {asked} queries did not confirm storage: {check.text}; "
                "`lumbar-node retry` starts over, verify_storage = false at the destination skips the query",
            )
            return
        reason = f"every object was accepted; storage is not verified yet: {check.text}"
        self.journal.deliveries.defer(row.id, reason, self.now() + self._wait_s(asked))
        if check.status in UNREACHABLE:
            self._hold(asked)

    # --- faults ---

    def _put_off(self, row: DeliveryRow, error: Exception) -> None:
        """Put off a delivery for a fault that is none of the destination's; after `max_tries` it is given up."""
        if is_damage(error):
            raise error
        place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        reason = place + describe_error(error)
        step = f"deliver {self.config.name}"
        self.log(StepFailed(step, f"{reason}, result {row.result_id}", error_trace(error)))
        now = next(d for d in self.journal.deliveries.of_series(row.series) if d.id == row.id)
        faults = now.fault_tries + 1
        if faults >= self.config.max_tries and now.state in _GIVE_UP:
            self._give_up(now, f"failed after {faults} attempts: {reason}")
        else:
            self.journal.deliveries.defer(row.id, reason, self.now() + self._wait_s(faults))

    def _give_up(self, row: DeliveryRow, reason: str) -> None:
        self.journal.deliveries.advance(row.id, _GIVE_UP[row.state], detail={"reason": reason})

    def _hold(self, tries: int) -> None:
        self.held_at = self.now()
        self.hold_until = self.held_at + min(self._wait_s(tries), LONGEST_HOLD_S)

    def _wait_s(self, tries: int) -> float:
        config = self.config
        return wait_s(tries, config.first_wait_seconds, config.max_wait_seconds, self.spread())


def steps(
    config: Config,
    journal: Journal,
    now: Callable[[], float],
    spread: Callable[[], float],
    log: Log = noop_log,
    credentials: Credentials | None = None,
) -> tuple[DeliverStep, ...]:
    """Return one `DeliverStep` per configured destination; what goes to no configured one is given up first."""
    close_unconfigured(journal, [d.name for d in config.destinations])
    state = StateDirectory(config.node.state)
    own = config.node.ae_title
    return tuple(
        DeliverStep(journal, d, build(d, own, credentials), now, spread, state, log=log)
        for d in config.destinations
    )


def close_unconfigured(journal: Journal, names: Sequence[str]) -> int:
    """Give up deliveries to destinations that are no longer configured; returns how many."""
    lost = [d for d in journal.deliveries.in_states(*_GIVE_UP) if d.destination not in names]
    for row in lost:
        reason = f'destination "{row.destination}" is no longer configured'
        event = _E.NO_PROOF_OFFERED if row.state is _D.SENT else _GIVE_UP[row.state]
        journal.deliveries.advance(row.id, event, detail={"reason": reason})
    return len(lost)
