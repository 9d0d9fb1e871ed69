"""One connection to the listener, from its first byte to its end, in a thread of its own.

Reads PDUs with deadlines and hands messages to the service; what the service decides is sent back. No
peer, whatever it sends or does not send, raises anything out of here.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Final

from node.faults import describe_error
from node.receive import dimse, wire
from node.receive.arrival import Arrival
from node.receive.dimse import Command
from node.receive.farewell import farewell
from node.receive.limits import Pace
from node.receive.listener import is_closed, is_readable
from node.receive.message import AssociationEnd, Message
from node.receive.port import Service
from node.receive.stream import PeerStream
from node.receive.tls import HANDSHAKE, handshake, link_fault, stop_reading
from node.receive.wire import Malformed

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
UNRECOGNIZED_OPERATION: Final = 0x0211

REQUEST_S: Final = 10.0
"""Time from the connection to the last byte of the A-ASSOCIATE-RQ (ARTIM); idle sockets would otherwise use up
`max_associations`."""
LONGEST_COMMAND: Final = 1 << 14
"""Bytes of a command set; the longest that is used has a few hundred."""
_LOOK_S: Final = 0.1
_COMMITMENT: Final = frozenset({dimse.N_ACTION_RQ, dimse.N_EVENT_REPORT_RQ})

_GONE: Final = "the peer closed the connection without a release"
_GONE_EARLY: Final = "the peer closed the connection inside its association request"

ARRIVAL_S: Final = 1.0
"""Time that a peer that has just connected gets for its request when the node stops."""


class Connection:
    """One accepted TCP connection. idle_s, least_rate: see `Pace` and [receive] in the configuration."""

    def __init__(
        self, link: socket.socket, address: str, service: Service, idle_s: float, least_rate: float
    ) -> None:
        self.address, self.calling = address, ""
        self.certificate = frozenset[str]()
        self.stored = self.same = self.messages = 0
        self.max_pdu = wire.DEFAULT_MAX_PDU
        self._link, self._service, self._idle_s = link, service, idle_s
        self._request_s = min(REQUEST_S, idle_s)
        self._began, self._pace = time.monotonic(), Pace(least_rate)
        self._answers: dict[int, tuple[int, str]] = {}
        self._message: Message | None = None
        self._stream = PeerStream(link, self._pace, self._left_s, self._late)
        self._associated, self._ending = False, ""
        self._thread = threading.Thread(target=self._run, name=f"from {address}", daemon=True)

    @property
    def associated(self) -> bool:
        """Whether there is an association, not yet ended."""
        return self._associated

    def arrives(self) -> bool:
        """Return whether its association request may still be on its way: it connected a moment ago."""
        return not self._associated and time.monotonic() - self._began < ARRIVAL_S

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end; for one that has not begun there is nothing to wait for."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def behind_s(self) -> float:
        """Return the seconds behind the slowest rate."""
        return self._pace.behind_s()

    def gone(self) -> bool:
        """Return whether the peer has closed the connection, even if it sent something before."""
        return is_closed(self._link)

    def end(self, reason: str) -> None:
        """Abort it, from any thread; returns at once."""
        self._ending = reason
        if not (self._associated and isinstance(self._link, ssl.SSLSocket)):
            stop_reading(
                self._link
            )  # its own thread wakes up and says farewell; under TLS it looks itself

    # ---- the thread ----

    def _run(self) -> None:
        try:
            self._serve()
        except AssociationEnd as end:
            self._finish(end)
        except Malformed as error:
            last = wire.abort(wire.INVALID_PARAMETER)
            self._finish(AssociationEnd("aborted", f"{self._where()}{error}", last))
        except OSError as error:
            self._finish(AssociationEnd("closed", link_fault(error)))
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this association, no other
            self._finish(AssociationEnd("aborted", describe_error(error), wire.abort()))
        finally:
            self._link.close()
            self._service.left(self)

    def _finish(self, end: AssociationEnd) -> None:
        if self._message is not None and self._message.arrival is not None:
            self._message.arrival.close()
        if self._ending:
            end = AssociationEnd("aborted", self._ending, wire.abort())
        if self._associated:
            nothing = all(result for result, _ in self._answers.values())
            asked = "none of the services it asked for is offered; " if nothing else ""
            self._service.ended(self, end.outcome, asked + end.reason)
        else:
            self._service.refused(self, end.reason)
        if end.last:
            farewell(self._link, end.last)

    def _serve(self) -> None:
        self._establish()
        self._pace.restart()
        while True:
            if self._message is None:
                self._report()
            self._read_pdu()

    def _report(self) -> None:
        """Send reports on commitments over their own association while its peer leaves it open and is silent."""
        while (
            not self._ending
            and self._service.awaits_report(self)
            and not self._stream.buffered
            and not is_readable(self._link, _LOOK_S)
        ):
            report = self._service.report(self)
            if report:
                self._send(report)

    def _where(self) -> str:
        return "" if self._associated else "not an association request: "

    # ---- reading ----

    def _left_s(self) -> float:
        if self._associated:
            return 0.0 if self._ending else self._idle_s - self._pace.behind_s()
        return self._began + self._request_s - time.monotonic()

    def _late(self) -> AssociationEnd:
        if not self._associated:
            reason = f"no complete association request within {self._request_s:g} s"
        elif self._message is None:
            reason = f"silent for {self._idle_s:g} s, [receive] idle_seconds"
        else:
            reason = f"{self._idle_s:g} s behind the slowest rate, [receive] least_kb_per_second"
        return AssociationEnd("aborted", reason, wire.abort())

    def _header(self, gone: str = _GONE) -> tuple[int, int]:
        """Type and length of the next PDU."""
        kind = self._stream.peek(gone)
        if not wire.ASSOCIATE_RQ <= kind <= wire.ABORT:
            hint = ", a TLS handshake, and [receive] tls is off" if kind == HANDSHAKE else ""
            reason = f"{self._where()}no PDU begins with 0x{kind:02X}{hint}"
            raise AssociationEnd("aborted", reason, wire.abort(wire.UNRECOGNIZED_PDU))
        kind, length = wire.header(self._stream.take(wire.HEADER_BYTES, self._gone))
        if length > wire.LARGEST_PDU:
            raise Malformed(f"a PDU of {length} bytes")
        return kind, length

    def _body(self, length: int) -> memoryview:
        return self._stream.take(length, self._gone)

    @property
    def _gone(self) -> str:
        return _GONE if self._associated else _GONE_EARLY

    # ---- the association ----

    def _establish(self) -> None:
        """Read the request and answer it. Raises `AssociationEnd` for one that is not let in."""
        early = ""
        if isinstance(self._link, ssl.SSLSocket):
            self.certificate = handshake(self._link, self._left_s)
            early = "closed after the TLS handshake without a request"
        kind, length = self._header(gone=early)
        if kind == wire.ABORT:
            raise AssociationEnd("closed", "aborted by the peer before its association request")
        if kind != wire.ASSOCIATE_RQ:
            reason = f"{self._where()}a PDU of type {kind}"
            raise AssociationEnd("aborted", reason, wire.abort(wire.UNEXPECTED_PDU))
        request = wire.request(bytes(self._body(length)))
        self.calling = request.calling
        verdict = self._service.judge(self, request)
        if verdict.refusal is not None:
            raise AssociationEnd("aborted", verdict.reason, wire.reject(verdict.refusal))
        self._answers, self._associated = verdict.contexts, True
        self.max_pdu = request.max_pdu
        self._stream.read_ahead()
        self._send(wire.accept(request, verdict.contexts, verdict.roles))

    def _send(self, raw: bytes) -> None:
        self._stream.send(raw, self._idle_s)

    def _read_pdu(self) -> None:
        kind, length = self._header()
        if kind == wire.P_DATA:
            if self._message is None:
                self._pace.restart()  # the pause before a message is not its slowness
            for context, control, fragment in wire.fragments(self._body(length)):
                self._take(context, control, fragment)
            return
        body = self._body(length)
        if kind == wire.RELEASE_RQ:
            raise AssociationEnd("released", "", wire.released())
        if kind == wire.ABORT:
            source = "user" if length < 4 or body[2] == 0 else "provider"
            raise AssociationEnd(
                "aborted", f"by the peer's service {source}, reason {bytes(body[3:4]).hex()}"
            )
        raise AssociationEnd(
            "aborted", f"a PDU of type {kind} in an association", wire.abort(wire.UNEXPECTED_PDU)
        )

    def _take(self, context: int, control: int, fragment: memoryview) -> None:
        """Take one fragment; answers the message that it completes."""
        if context not in self._answers or self._answers[context][0] != 0:
            raise Malformed(f"presentation context {context} was not accepted")
        message = self._message
        if message is None:
            message = self._message = Message(context, bytearray())
        if message.context != context or bool(control & 1) != (message.command is None):
            raise Malformed("fragments of two messages are mixed")
        if message.command is None:
            self._take_command(message, fragment, last=bool(control & 2))
        elif message.arrival is not None:
            self._take_data(message, message.arrival, fragment, last=bool(control & 2))

    def _take_command(self, message: Message, fragment: memoryview, *, last: bool) -> None:
        message.raw += fragment
        if len(message.raw) > LONGEST_COMMAND:
            raise Malformed(f"a command set of more than {LONGEST_COMMAND} bytes")
        if not last:
            return
        command = message.command = dimse.command(bytes(message.raw))
        if command.field & dimse.RESPONSE and not self._service.reported(self, command):
            raise Malformed(f"a response (command field 0x{command.field:04X}) to no request")
        if not command.has_data:
            self._answer(message, command)
        elif command.field == dimse.C_STORE_RQ:
            syntax = self._answers[message.context][1]
            message.arrival = self._service.begin(self, command, syntax)
        elif command.field in _COMMITMENT:
            message.arrival = self._service.gather()
        else:
            message.arrival = self._service.drop()

    def _take_data(
        self, message: Message, arrival: Arrival, fragment: memoryview, *, last: bool
    ) -> None:
        arrival.write(fragment)
        if arrival.too_long:
            raise AssociationEnd("aborted", arrival.refusal, wire.abort())
        if last and message.command is not None:
            self._answer(message, message.command)

    def _answer(self, message: Message, command: Command) -> None:
        status, comment = SUCCESS, ""
        context, syntax = message.context, self._answers[message.context][1]
        if command.field == dimse.C_STORE_RQ:
            arrival = message.arrival or self._service.drop()
            status, comment = self._service.store(self, command, syntax, arrival)
        elif command.field in _COMMITMENT:
            arrival = message.arrival or self._service.gather()
            status, comment = self._service.commitment(self, context, command, syntax, arrival)
        elif command.field != dimse.C_ECHO_RQ:
            status = UNRECOGNIZED_OPERATION
        if message.arrival is not None:
            message.arrival.close()
        self._message = None
        self.messages += 1
        if command.field != dimse.C_CANCEL_RQ and not command.field & dimse.RESPONSE:
            self._send(dimse.response(context, command, status, comment))
        self._pace.restart()
