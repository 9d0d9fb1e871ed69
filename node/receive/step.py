"""Receive: C-STORE → durable bytes → journal → success, in this order; C-ECHO.

Who may send and what becomes of an object is decided here; how bytes become messages is in
`association` and `wire`. Nothing here looks at pixels, and no object is held in memory.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.errors import LumbarError
from node.config.receive import ReceiveConfig
from node.events import (
    AssociationEnded,
    AssociationRefused,
    Log,
    ObjectRefused,
    StepFailed,
)
from node.faults import describe_error, error_trace
from node.journal.journal import Journal
from node.receive import wire
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
from node.receive.keep import Keeper
from node.receive.limits import Lines, Slots, Strangers, Unfinished
from node.receive.listener import open_listener
from node.receive.port import Outcome, Verdict
from node.receive.rates import Rates
from node.receive.tls import secured
from node.receive.wire import Request
from node.store.spool import Spool, file_meta
from node.tls.credentials import Credentials

STRANGERS: Final = 64
"""Connections that may wait with their association request."""
STRANGERS_PER_PEER: Final = 16
SLOT_S: Final = 5.0
"""Time that a request waits for a slot; peers wait 10 s and more for their answer."""
_LOOK_S: Final = 0.1
_ACCEPT_S: Final = 0.2
_ABORT_S: Final = 3.0


@dataclass(slots=True)
class ReceiveStep:
    """The listener. `free_bytes` tells the free space of the state folder's disk.

    given: a socket that listens already, of a service manager; None: the step opens its own.
    round_at: when the listener last looked for a connection, of the monotonic clock.
    credentials: contexts for [receive] tls.
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
    round_at: float = field(default_factory=time.monotonic)
    archives: Sequence[Archive] = ()
    credentials: Credentials | None = None
    _gate: DiskGate = field(init=False)
    _slots: Slots = field(init=False)
    _strangers: Strangers = field(init=False)
    _unfinished: Unfinished = field(init=False)
    _rates: Rates = field(init=False)
    _keeper: Keeper = field(init=False)
    _commitments: Commitments = field(init=False)
    _listener: socket.socket | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _connections: set[Connection] = field(default_factory=set)
    _lines: Lines = field(default_factory=Lines)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        config = self.config
        self._gate = DiskGate(config.disk_low_mb * MB, config.disk_high_mb * MB)
        self._slots = Slots(
            config.max_associations, config.max_associations_per_peer, config.reserved_associations
        )
        self._strangers = Strangers(STRANGERS, STRANGERS_PER_PEER)
        self._unfinished = Unfinished(config.max_unfinished_mb * MB)
        self._rates = Rates(config.max_associations_per_minute, config.max_mb_per_minute)
        self._commitments = Commitments(self.journal, self.log, self.archives, config.caller)
        self._keeper = Keeper(self.spool, self.journal, config.max_object_mb * MB, self.log)

    # ---- life ----

    def start(self) -> int:
        """Listen; returns the port. Raises `PortBusy`."""
        self._listener = self.given or open_listener(self.host, self.port)
        self._listener.settimeout(_ACCEPT_S)
        threading.Thread(
            target=self._listen, args=(self._listener,), name="listener", daemon=True
        ).start()
        return int(self._listener.getsockname()[1])

    def stop(self, timeout_s: float) -> int:
        """Take no new connections, let open ones end within the time limit, abort the rest; returns how many."""
        if self._listener is None:
            return 0
        self._stopping.set()
        self._listener.close()
        ends_at = time.monotonic() + timeout_s
        while self._expected() and time.monotonic() < ends_at:
            time.sleep(0.05)
        left = self._associations()
        with self._lock:
            rest = list(self._connections)
        for connection in rest:
            connection.end("the node stops")
        ends_at = time.monotonic() + _ABORT_S
        for connection in rest:
            connection.join(max(0.0, ends_at - time.monotonic()))
        self._keeper.close()
        return left

    def _expected(self) -> bool:
        """Return whether a connection has an association, or may be about to ask for it."""
        with self._lock:
            return any(c.associated or c.arrives() for c in self._connections)

    def _associations(self) -> int:
        with self._lock:
            return sum(c.associated for c in self._connections)

    def _listen(self, listener: socket.socket) -> None:
        last = ""
        while not self._stopping.is_set():
            self.round_at = time.monotonic()
            try:
                link, peer = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:  # the listener was closed, or there are no file handles left
                if not self._stopping.is_set() and (fault := str(error.strerror)) != last:
                    self.log(StepFailed("receive", fault))
                    last = fault
                self._stopping.wait(_ACCEPT_S)
                continue
            try:
                self._welcome(link, str(peer[0]).removeprefix("::ffff:"))
            except Exception as error:  # noqa: BLE001 - one connection does not end the listener
                link.close()
                self.log(StepFailed("receive", describe_error(error), error_trace(error)))

    def _welcome(self, link: socket.socket, address: str) -> None:
        if not address_known(address, self.config.caller):
            self._say_refused(address, UNKNOWN_ADDRESS)
            link.close()
            return
        with contextlib.suppress(OSError):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.config.tls != "off" and self.credentials is not None:
            link = secured(link, self.credentials.context(self.config.tls))
        rate = self.config.least_kb_per_second * 1000
        connection = Connection(link, address, self, self.config.idle_seconds, rate)
        with self._lock:
            self._connections.add(connection)
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
            if connection.gone() or time.monotonic() > ends_at or self._stopping.wait(_LOOK_S):
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
        self._gate = self._gate.seen(self.free_bytes())
        if self._gate.closed and not stores_nothing(request):
            reason = f"less than {config.disk_low_mb} MB free on the disk of [node] state"
            return Verdict({}, wire.LOCAL_LIMIT, reason)
        if not stores_nothing(request) and (reason := self._rates.refusal(connection.address)):
            return Verdict({}, wire.CONGESTION, reason)
        return Verdict(answers(request), roles=roles(request))

    def begin(self, connection: Connection, command: Command, syntax: str) -> Arrival:
        """Begin to take the data set of a C-STORE."""
        largest = self.config.max_object_mb * MB
        meta = file_meta(command.sop_class, command.sop_instance, syntax, connection.calling)
        try:
            return Arrival(self.spool.begin(meta), "", largest, self._unfinished)
        except OSError as error:
            return Arrival(None, error.strerror or str(error), largest, self._unfinished)
        except LumbarError as error:
            return Arrival(None, str(error), largest, self._unfinished)

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
        self._stopping.wait(self._rates.pause_s(connection.address, arrival.size))
        return SUCCESS, ""

    def refused(self, connection: Connection, reason: str) -> None:
        """Log a connection that ended before there was an association."""
        self._strangers.go(connection)
        self._say_refused(connection.address, reason)

    def _say_refused(self, address: str, reason: str) -> None:
        """Log it, unless there were many of this address within the last minute."""
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
        with self._lock:
            self._connections.discard(connection)

    def _refused(self, connection: Connection, reason: str) -> tuple[int, str]:
        self.log(ObjectRefused(connection.address, reason, "0xA700", connection.calling))
        return OUT_OF_RESOURCES, reason


def free_bytes(state: Path) -> int:
    """Return the free space for ordinary users on the disk of the state folder."""
    return shutil.disk_usage(state).free
