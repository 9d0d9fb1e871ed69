"""Receive: C-STORE → durable bytes → journal → success, in this order; C-ECHO.

Who may send and what becomes of an object is decided here; how bytes become messages is in
`association` and `wire`. Nothing here looks at pixels, and no object is held in memory.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.errors import LumbarError
from node.config.receive import ReceiveConfig
from node.events import AssociationEnded, AssociationRefused, Log, ObjectRefused
from node.faults import describe_error
from node.journal.journal import Journal
from node.receive import wire
from node.receive.acceptor import Acceptor
from node.receive.admission import (
    MB,
    UNKNOWN_ADDRESS,
    DiskGate,
    address_known,
    answers,
    refusal,
    roles,
    stores_nothing,
)
from node.receive.arrival import Arrival, Gathered
from node.receive.association import OUT_OF_RESOURCES, SUCCESS, Connection
from node.receive.commitment import MOST_BYTES, Archive, Commitments
from node.receive.dimse import Command
from node.receive.identify import Received
from node.receive.intake import Intake
from node.receive.keep import Keeper
from node.receive.limits import Lines, Slots, Strangers, Unfinished
from node.receive.listener import open_listener
from node.receive.port import Outcome, Verdict
from node.receive.rates import Rates
from node.receive.refusals import Refusals
from node.receive.tls import secured
from node.receive.wire import Request
from node.store.spool import Spool
from node.tls.credentials import Credentials

STRANGERS: Final = 64
"""Connections that may wait with their association request."""
STRANGERS_PER_PEER: Final = 16
SLOT_S: Final = 5.0
"""Time that a request waits for a slot; peers wait 10 s and more for their answer."""
_LOOK_S: Final = 0.1


@dataclass(slots=True)
class ReceiveStep:
    """The listener. `free_bytes` tells the free space of the state folder's disk.

    given: a socket that listens already, of a service manager; None: the step opens its own.
    credentials: contexts for [receive] tls. intake: keeps objects, also those that the node fetches itself.
    """

    config: ReceiveConfig
    ae_title: str
    host: str
    port: int
    spool: Spool
    journal: Journal
    log: Log
    free_bytes: Callable[[], int]
    given: socket.socket | None = None
    archives: Sequence[Archive] = ()
    credentials: Credentials | None = None
    refusals: Refusals = field(default_factory=Refusals)
    _gate: DiskGate = field(init=False)
    _slots: Slots = field(init=False)
    _strangers: Strangers = field(init=False)
    _unfinished: Unfinished = field(init=False)
    _rates: Rates = field(init=False)
    _keeper: Keeper = field(init=False)
    intake: Intake = field(init=False)
    _commitments: Commitments = field(init=False)
    _acceptor: Acceptor = field(init=False)
    _lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        config = self.config
        self._acceptor = Acceptor(self._welcome, self.log)
        self._gate = DiskGate(config.disk_low_mb * MB, config.disk_high_mb * MB)
        self._slots = Slots(
            config.max_associations, config.max_associations_per_peer, config.reserved_associations
        )
        self._strangers = Strangers(STRANGERS, STRANGERS_PER_PEER)
        self._unfinished = Unfinished(config.max_unfinished_mb * MB)
        self._rates = Rates(config.max_associations_per_minute, config.max_mb_per_minute)
        self._commitments = Commitments(self.journal, self.log, self.archives, config.caller)
        largest = config.max_object_mb * MB
        self._keeper = Keeper(self.spool, self.journal, largest, self.log)
        self.intake = Intake(
            self.spool, self._keeper, self._unfinished, largest, self._no_room, self.log
        )

    def _no_room(self) -> str:
        """Return why no object may be taken now, "" when there is room."""
        self._gate = self._gate.seen(self.free_bytes())
        return self._gate.refusal

    # ---- life ----

    @property
    def round_at(self) -> float:
        """When the listener last looked for a connection, of the monotonic clock."""
        return self._acceptor.round_at

    def start(self) -> int:
        """Listen; returns the port. Raises `PortBusy`."""
        return self._acceptor.start(self.given or open_listener(self.host, self.port))

    def stop(self, timeout_s: float) -> int:
        """Take no new connections, let open ones end within the time limit, abort the rest; returns how many."""
        left = self._acceptor.stop(timeout_s)
        self._keeper.close()
        return left

    def _welcome(self, link: socket.socket, address: str) -> None:
        if not address_known(address, self.config.caller):
            self._say_refused("", address, UNKNOWN_ADDRESS)
            link.close()
            return
        with contextlib.suppress(OSError):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.config.tls != "off" and self.credentials is not None:
            link = secured(link, self.credentials.context(self.config.tls))
        rate = self.config.least_kb_per_second * 1000
        connection = Connection(link, address, self, self.config.idle_seconds, rate)
        self._acceptor.add(connection)
        self._strangers.come(connection)
        try:
            connection.start()
        except RuntimeError:  # the machine gives no more threads; a later connection may get one
            self.refused(connection, "no thread left for it")
            self.left(connection)
            link.close()

    # ---- one association (node.receive.association.Service) ----

    def judge(self, connection: Connection, request: Request) -> Verdict:
        """Let a peer in, with a slot, or say why not."""
        verdict = self._admitted(connection, request)
        if verdict.refusal is None:
            reason = self._slot(connection, known=bool(self.config.caller))
            if reason:
                return Verdict({}, wire.LOCAL_LIMIT, reason)
        self._strangers.go(connection)
        return verdict

    def _slot(self, connection: Connection, *, known: bool) -> str:
        """Get a slot, waiting a little for one: most senders do not try again when they are rejected."""
        ends_at = time.monotonic() + SLOT_S
        while reason := self._slots.take(connection, known=known):
            if (
                connection.gone()
                or time.monotonic() > ends_at
                or self._acceptor.stopping.wait(_LOOK_S)
            ):
                return reason
        return ""

    def _admitted(self, connection: Connection, request: Request) -> Verdict:
        config = self.config
        reports = self._commitments.knows(request.calling) and stores_nothing(request)
        refused = refusal(
            config.model_copy(update={"caller": ()}) if reports else config,
            self.ae_title,
            connection.address,
            connection.certificate,
            request,
        )
        if refused is not None:
            return refused
        if not stores_nothing(request) and (reason := self._no_room()):
            return Verdict({}, wire.LOCAL_LIMIT, reason)
        if not stores_nothing(request) and (reason := self._rates.refusal(connection.address)):
            return Verdict({}, wire.CONGESTION, reason)
        return Verdict(answers(request), roles=roles(request))

    def begin(self, connection: Connection, command: Command, syntax: str) -> Arrival:
        """Begin to take the data set of a C-STORE."""
        declared = (command.sop_class, command.sop_instance, syntax, connection.calling)
        return self.intake.begin(*declared)

    def gather(self) -> Gathered:
        """Begin to take the data set of an N-ACTION or N-EVENT-REPORT."""
        return Gathered(MOST_BYTES, self._unfinished)

    def commitment(
        self, connection: Connection, context: int, command: Command, syntax: str, arrival: Arrival
    ) -> tuple[int, str]:
        """Take a message of storage commitment."""
        return self._commitments.take(connection, context, command, syntax, arrival)

    def awaits_report(self, connection: Connection) -> bool:
        """Return whether this association may still take a report on what it asked."""
        return self._commitments.awaits_report(connection)

    def report(self, connection: Connection) -> bytes:
        """Return a report that is ready, b"" when none is."""
        return self._commitments.next_report(connection)

    def reported(self, connection: Connection, response: Command) -> bool:
        """Take the response to a report."""
        return self._commitments.answered(connection, response)

    def drop(self) -> Arrival:
        """Take a data set that is not wanted."""
        largest = self.config.max_object_mb * MB
        return Arrival(None, "no data set of a C-STORE", largest, self._unfinished)

    def store(
        self, connection: Connection, command: Command, syntax: str, arrival: Arrival
    ) -> tuple[int, str]:
        """Answer one C-STORE; a fault of ours is never "permanent", so that the sender keeps its copy."""
        if arrival.refusal or arrival.incoming is None:
            return self._refused(connection, arrival.refusal)
        received = Received(
            arrival.incoming,
            command.sop_class,
            command.sop_instance,
            syntax,
            connection.calling,
        )
        try:
            kept = self._keeper.keep(received)
        except OSError as error:
            return self._refused(connection, f"{error.strerror or error}")
        except LumbarError as error:
            return self._refused(connection, str(error))
        except Exception as error:  # noqa: BLE001 - any other answer tells the sender to give up
            return self._refused(connection, describe_error(error))
        connection.stored += kept in {"stored", "corrected"}
        connection.same += kept == "same"
        if kept != "quarantined":
            self._slots.stored(connection.address)
        pause_s = self._rates.pause_s(connection.address, arrival.size)
        if pause_s > 0:
            self._acceptor.stopping.wait(pause_s)
        return SUCCESS, ""

    def refused(self, connection: Connection, reason: str) -> None:
        """Log a connection that ended before there was an association."""
        self._strangers.go(connection)
        self._say_refused(connection.calling, connection.address, reason)

    def _say_refused(self, calling: str, address: str, reason: str) -> None:
        """Count it, and log it unless there were many of this address within the last minute."""
        if reason:  # without one nothing was sent: a probe of a port
            self.refusals.count(calling, address, "association", reason)
        unlogged = self._lines.take(address, silence=not reason)
        if unlogged is not None:
            counted = f" ({unlogged} more of this address before)" if unlogged else ""
            reason = reason or "closed without a byte"
            self.log(AssociationRefused(address, reason + counted))

    def ended(self, connection: Connection, outcome: Outcome, reason: str) -> None:
        """Log the end of an association; its slot is free."""
        self._slots.free(connection)
        self.log(
            AssociationEnded(
                connection.address,
                connection.calling,
                connection.stored,
                connection.same,
                outcome,
                reason,
            )
        )

    def left(self, connection: Connection) -> None:
        """Forget a connection, at the end of its thread."""
        with contextlib.suppress(Exception):  # at worst the report waits for its time
            self._commitments.left(connection)
        self.journal.close()
        self._acceptor.forget(connection)

    def _refused(self, connection: Connection, reason: str) -> tuple[int, str]:
        self.refusals.count(connection.calling, connection.address, "object", reason)
        self.log(ObjectRefused(connection.address, reason, "0xA700", connection.calling))
        return OUT_OF_RESOURCES, reason


def free_bytes(state: Path) -> int:
    """Return the free space for ordinary users on the disk of the state folder."""
    return shutil.disk_usage(state).free
