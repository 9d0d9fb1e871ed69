"""Deliver: due deliveries to their destination, and the proof that they arrived.

Everything that must survive a kill is in the journal: pending, the time of the next try, which files were
taken, sent. A kill between sending and recording sends again, which is harmless, because UIDs are fixed.
A fault of one delivery, of whatever kind, is that delivery's: it waits or is given up, the next one goes.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from node.backoff import days_text, wait_s
from node.clock import Clock
from node.config.destinations import DestinationConfig
from node.config.sections import Config
from node.deliver.changes import Changes
from node.deliver.factory import build
from node.deliver.forms import prepare, sent_names
from node.deliver.port import (
    UNREACHABLE,
    Destination,
    ResultFile,
    StorageCheck,
)
from node.deliver.prove import Prover
from node.deliver.reasons import outcome_words, reason_line
from node.deliver.wake import Waker
from node.errors import DamagedResult, IllegalTransition
from node.event_log import Seldom
from node.events import (
    DeliveriesWoken,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliverySent,
    DeliverySuperseded,
    DeliveryWaits,
    Log,
    SeriesEnded,
    StepFailed,
    noop_log,
)
from node.faults import describe_error, error_trace
from node.journal.deliveries import SUPERSEDED
from node.journal.file import is_damage
from node.journal.journal import Journal
from node.journal.rows import RESULT, DeliveryRow
from node.journal.states import DeliveryEvent, DeliveryState, SeriesState
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials

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


@dataclass(slots=True)
class DeliverStep:
    """The deliveries of one destination; each destination has its own, so that a dead one holds up
    no other. `spread` gives 0…1 for the jitter.

    Waits are in the journal, by the wall clock; what lasts no longer than this process follows the monotonic one.
    """

    journal: Journal
    config: DestinationConfig
    destination: Destination
    clock: Clock
    spread: Callable[[], float]
    state: StateDirectory
    log: Log = noop_log
    changes: Changes = field(init=False)
    hold_until: float = -math.inf
    looked_at: float = -math.inf
    _waker: Waker = field(init=False)
    _prover: Prover = field(init=False)
    _is_new: Seldom = field(init=False)

    def __post_init__(self) -> None:
        monotonic, name = self.clock.monotonic, self.config.name
        self.changes = Changes(name, self.log, monotonic)
        self._waker = Waker(self.journal, self.destination, monotonic, self.spread)
        self._prover = Prover(self.journal, self.config, self.destination)
        self._is_new = Seldom(monotonic)

    def now(self) -> float:
        """Return the seconds since 1970."""
        return self.clock.wall()

    def run_once(self) -> int:
        """Act on every due delivery once; returns how many moved."""
        moved = self._woken()
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
        self.changes.flush()
        return moved + self._withdrawals()

    def _woken(self) -> int:
        """Ask a destination that did not respond whether it does; returns how many deliveries that wakes."""
        woken = self._waker.run_once()
        if woken:
            self.hold_until = -math.inf
            self.changes("woken", DeliveriesWoken(self.config.name, woken))
        return woken

    def _held(self) -> bool:
        """Whether the destination is left in peace."""
        return self.clock.monotonic() < self.hold_until

    def _withdrawals(self) -> int:
        """Make the withdrawals that are wanted since the last look; returns how many."""
        now = self.clock.monotonic()
        if not self.config.withdraw or now - self.looked_at < WITHDRAWALS_S:
            return 0
        self.looked_at = now
        return self.journal.deliveries.open_withdrawals(self.config.name)

    def _act(self, row: DeliveryRow) -> bool:
        if row.kind == RESULT and row.because:
            detail = {"reason": SUPERSEDED, "because": row.because}
            self.journal.deliveries.advance(row.id, _E.SUPERSEDED, detail=detail)
            event = DeliverySuperseded(self.config.name, row.result_id)
            self.changes("superseded", event)
            return True
        if row.state is _D.WAITING:
            self.journal.deliveries.advance(row.id, _E.DUE)
            row = self.journal.deliveries.get(row.id)  # with the time that it waited
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
            self._verify(self.journal.deliveries.get(row.id), files)
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
        away = bool(later) and all(o.status in UNREACHABLE for o in outcomes)
        if not away:
            self._waker.got_through()
        if later:
            self._wait(row, _E.TRANSIENT_FAILURE, detail, unreachable=away)
        elif refused:
            self._refused(row, detail)
        else:
            self.journal.deliveries.advance(
                row.id, _E.PEER_ACCEPTED, detail={"objects": len(files)}
            )
            event = DeliverySent(
                self.config.name, row.result_id, row.kind, len(files), row.tries + 1
            )
            self.changes("sent", event)
        return not later and not refused

    def _wait(
        self,
        row: DeliveryRow,
        event: DeliveryEvent,
        detail: Mapping[str, object],
        *,
        unreachable: bool = False,
    ) -> None:
        tries = row.tries + 1
        if unreachable:
            self._hold(tries)
        wait = self._wait_s(tries)
        self.journal.deliveries.advance(
            row.id,
            event,
            detail=detail,
            next_try_at=self.now() + wait,
            unreachable=unreachable,
        )
        waited_s = self.journal.deliveries.get(row.id).waited_s
        if waited_s >= self.config.patience_s:
            reason = (
                f"given up after {days_text(waited_s)} and {tries} attempts: {detail['reason']}"
            )
            self._give_up(self.journal.deliveries.get(row.id), reason)
            return
        self._say_waits(row, str(detail["reason"]), tries, wait)

    def _say_waits(self, row: DeliveryRow, reason: str, tries: int, wait: float) -> None:
        event = DeliveryWaits(
            self.config.name, row.result_id, row.kind, reason, tries, round(wait, 1)
        )
        self.changes("waiting", event)

    def _refused(self, row: DeliveryRow, detail: Mapping[str, object]) -> None:
        self.journal.deliveries.advance(row.id, _E.PERMANENT_FAILURE, detail=detail)
        event = DeliveryFailed(self.config.name, row.result_id, row.kind, str(detail["reason"]))
        self.changes("failed", event)

    # --- proof ---

    def _verify(self, row: DeliveryRow, files: Sequence[ResultFile]) -> bool:
        """Ask whether what was sent has arrived; False when there was no answer that says so."""
        check = self._prover.check(row, files)
        detail: dict[str, object] = {"reason": check.text}
        if check.value == "unknown":
            self._ask_later(row, check)
            return False
        self._waker.got_through()
        if check.value == "asked":
            self._await_report(row, check)
            return True
        if check.value == "missing":
            self.journal.deliveries.record_outcomes(row.id, self._still_held(row, files, check), {})
            self._wait(row, _E.PROOF_MISSING, detail)
            return True
        if check.value == "refused":
            held = [name for name in row.accepted if name not in check.refused]
            self.journal.deliveries.record_outcomes(row.id, held, {**row.refused, **check.refused})
            self._refused(row, {"reason": reason_line(check.refused, held)})
            return True
        self._confirm(row, check)
        return True

    @staticmethod
    def _still_held(
        row: DeliveryRow, files: Sequence[ResultFile], check: StorageCheck
    ) -> list[str]:
        """Files that the destination has although others are missing."""
        missing = check.missing or tuple(p.name for p in files)
        other = [name for name in row.accepted if name not in {p.name for p in files}]
        return [*other, *(p.name for p in files if p.name not in missing)]

    def _confirm(self, row: DeliveryRow, check: StorageCheck) -> None:
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
            seconds = round(max(0.0, self.now() - series.last_at), 2)
            self.log(SeriesEnded(row.series.series, series.state, "", seconds))

    def _await_report(self, row: DeliveryRow, check: StorageCheck) -> None:
        """Leave the delivery as sent until its report comes, or is late."""
        if row.waited_s >= self.config.patience_s:
            reason = (
                f"every object was accepted, but no report on storage commitment came within {days_text(row.waited_s)}; "
                "see that the PACS knows this node's address, or set proof"
            )
            self._give_up(row, reason)
            return
        until = self.now() + check.wait_s
        self.journal.deliveries.await_report(row.id, check.text, until)
        self._say_waits(row, check.text, row.tries, check.wait_s)

    def _ask_later(self, row: DeliveryRow, check: StorageCheck) -> None:
        """Keep the delivery as sent and ask again; the objects are not sent again for want of an answer."""
        asked = row.fault_tries + 1
        if row.waited_s >= self.config.patience_s:
            self._give_up(
                row,
                f"every object was accepted, but {asked} questions did not confirm storage: {check.text}; "
                '`lumbar-node retry` starts over, proof = "none" at the destination asks nothing',
            )
            return
        reason = f"every object was accepted; storage is not verified yet: {check.text}"
        wait, away = self._wait_s(asked), check.status in UNREACHABLE
        if away:
            self._hold(asked)
        self.journal.deliveries.defer(row.id, reason, self.now() + wait, unreachable=away)
        self._say_waits(row, reason, row.tries, wait)

    # --- faults ---

    def _put_off(self, row: DeliveryRow, error: Exception) -> None:
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
        if now.waited_s >= self.config.patience_s and now.state in _GIVE_UP:
            waited = days_text(now.waited_s)
            self._give_up(now, f"given up after {waited} and {faults} attempts: {reason}")
        else:
            wait = self._wait_s(faults)
            self.journal.deliveries.defer(row.id, reason, self.now() + wait)
            self._say_waits(row, reason, faults, wait)

    def _give_up(self, row: DeliveryRow, reason: str) -> None:
        self.journal.deliveries.advance(row.id, _GIVE_UP[row.state], detail={"reason": reason})
        event = DeliveryFailed(self.config.name, row.result_id, row.kind, reason)
        self.changes("failed", event)

    def _hold(self, tries: int) -> None:
        self.hold_until = self.clock.monotonic() + min(self._wait_s(tries), LONGEST_HOLD_S)

    def _wait_s(self, tries: int) -> float:
        config = self.config
        return wait_s(tries, config.first_wait_seconds, config.max_wait_seconds, self.spread())


def steps(
    config: Config,
    journal: Journal,
    clock: Clock,
    spread: Callable[[], float],
    log: Log = noop_log,
    credentials: Credentials | None = None,
) -> tuple[DeliverStep, ...]:
    """Return one `DeliverStep` per configured destination; what goes to no configured one is given up first."""
    close_unconfigured(journal, [d.name for d in config.destinations])
    state = StateDirectory(config.node.state)
    own = config.node.ae_title
    return tuple(
        DeliverStep(journal, d, build(d, own, credentials), clock, spread, state, log=log)
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
