"""Deliver: due deliveries to their destination, and the proof that they arrived.

Everything that must survive a kill is in the journal: pending, the time of the next try, which files were
taken, sent. A kill between sending and recording sends again, which is harmless, because UIDs are fixed.
A fault of one delivery, of whatever kind, is that delivery's: it waits or is given up, the next one goes.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.destinations import DestinationConfig
from node.config.profiles import followup_files
from node.deliver.changes import Changes
from node.deliver.forms import prepare, sent_names
from node.deliver.port import UNREACHABLE, Destination, ResultFile
from node.deliver.prove import Prover
from node.deliver.reasons import outcome_words, reason_line
from node.deliver.recorder import Recorder
from node.deliver.wake import Waker
from node.errors import DamagedResult, IllegalTransition
from node.events import DeliveriesWoken, Log, WithdrawalCreated, noop_log
from node.journal.journal import Journal
from node.journal.rows import RESULT, VERIFIED, WITHDRAWAL, DeliveryRow
from node.journal.states import DeliveryEvent, DeliveryState
from node.store.layout import StateDirectory

WITHDRAWALS_S: Final = 2.0
"""Time between two looks for superseded results; the look grows with their number over the years."""


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
    looked_at: float = -math.inf
    _recorder: Recorder = field(init=False)
    _waker: Waker = field(init=False)
    _prover: Prover = field(init=False)

    def __post_init__(self) -> None:
        monotonic, name = self.clock.monotonic, self.config.name
        self.changes = Changes(name, self.log, monotonic)
        self._recorder = Recorder(
            self.journal, self.config, self.clock, self.spread, self.log, self.changes
        )
        self._waker = Waker(self.journal, self.destination, monotonic, self.spread)
        self._prover = Prover(self.journal, self.config, self.destination)

    def now(self) -> float:
        """Return the seconds since 1970."""
        return self.clock.wall()

    def run_once(self) -> int:
        """Act on every due delivery once; returns how many moved."""
        moved, held = self._woken(), self._recorder.is_held
        for row in () if held() else self.journal.deliveries.due(self.now(), self.config.name):
            if held():
                break
            try:
                moved += self._act(row)
            except IllegalTransition:
                continue  # superseded meanwhile
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this delivery's
                with suppress(IllegalTransition):
                    self._recorder.put_off(row, error)
        self.changes.flush()
        return moved + self._withdrawals()

    def _woken(self) -> int:
        """Ask a destination that did not respond whether it does; returns how many deliveries that wakes."""
        woken = self._waker.run_once()
        if woken:
            self._recorder.hold_until = -math.inf
            self.changes("woken", DeliveriesWoken(self.config.name, woken))
        return woken

    def _withdrawals(self) -> int:
        """Make the withdrawals that are wanted since the last look; returns how many."""
        now = self.clock.monotonic()
        if not self.config.withdraw or now - self.looked_at < WITHDRAWALS_S:
            return 0
        self.looked_at = now
        created = self.journal.withdrawals.open(self.config.name)
        for result, because in created:
            self.changes("created", WithdrawalCreated(self.config.name, result, because))
        return len(created)

    def _act(self, row: DeliveryRow) -> bool:
        if row.kind != WITHDRAWAL and row.because:
            self._recorder.superseded(row)
            return True
        if row.state is DeliveryState.WAITING:
            self.journal.deliveries.advance(row.id, DeliveryEvent.DUE)
            row = self.journal.deliveries.get(row.id)  # with the time that it waited
        try:
            files = self._files(row)
        except DamagedResult as error:
            self._recorder.give_up(row, str(error))
            return True
        try:
            return self._deliver(row, files)
        finally:
            shutil.rmtree(self._outgoing, ignore_errors=True)

    def _deliver(self, row: DeliveryRow, files: Sequence[ResultFile]) -> bool:
        if row.state is DeliveryState.SENT:
            return self._verify(row, files)
        if self._send(row, files):
            self._verify(self.journal.deliveries.get(row.id), files)
        return True

    def _files(self, row: DeliveryRow) -> tuple[ResultFile, ...]:
        """Files as they are sent, or the note that takes back what was delivered. Raises `DamagedResult`."""
        sends, outgoing = self.config.sends, self._outgoing
        if row.kind == VERIFIED:
            return (self._verified(row),)
        names = followup_files(sends) if row.is_followup else sent_names(row.folder, sends)
        if row.kind == RESULT or not row.because:
            return prepare(row.folder, names, outgoing, compress=sends.compress == "rle")
        from node.deliver.withdrawal import find_or_write_note  # noqa: PLC0415 - it encodes, and is seldom needed

        sent = {
            d.kind: d.accepted
            for d in self.journal.deliveries.of_series(row.series)
            if (d.result_id, d.destination) == (row.result_id, row.destination)
        }
        held, verified = sent.get(RESULT, ()), sent.get(VERIFIED, ())
        if not row.folder.is_dir():
            raise DamagedResult(
                f"the files of {row.folder.name} were removed, so no rejection note can be made;"
                f" reject or delete its objects at {self.config.name} manually"
            )
        created = datetime.fromtimestamp(self.now(), UTC).astimezone()
        files = () if verified and not held else prepare(row.folder, held or names, outgoing)
        files += (self._verified(row),) if verified else ()
        notes = self.state.withdrawals
        return (find_or_write_note(row.folder.name, row.because, files, notes, created),)

    def _verified(self, row: DeliveryRow) -> ResultFile:
        """Return the report that a physician confirmed. Raises `DamagedResult`."""
        from node.deliver.verified import find_or_write_verified  # noqa: PLC0415 - as above

        made = self.journal.reviews.decision(row.result_id)
        return find_or_write_verified(row.folder, made, self.state.verified)

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
            transient = DeliveryEvent.TRANSIENT_FAILURE
            asked_s = max(o.wait_s for o in later)
            self._recorder.waits(row, transient, detail, unreachable=away, asked_s=asked_s)
        elif refused:
            self._recorder.refused(row, detail)
        else:
            self._recorder.sent(row, len(files))
        return not later and not refused

    # --- proof ---

    def _verify(self, row: DeliveryRow, files: Sequence[ResultFile]) -> bool:
        """Ask whether what was sent has arrived; False when there was no answer that says so."""
        check = self._prover.check(row, files)
        if check.value == "unknown":
            self._recorder.unanswered(row, check)
            return False
        self._waker.got_through()
        match check.value:
            case "asked":
                self._recorder.awaits_report(row, check)
            case "missing":
                self._recorder.missing(row, check, [p.name for p in files])
            case "refused":
                self._recorder.not_kept(row, check)
            case "stored" | "unsupported":
                self._recorder.confirmed(row, check)
        return True
