"""Storage commitment at the acceptor: what others ask of us, and their reports on what we asked (PS3.4 annex J).

A request is in the journal before it is answered, and so is a report; other steps act on both. The answer to a
request goes out over the same association while its peer leaves it open and is silent.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from node import commitment
from node.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, BadCommitment, Reference
from node.config.receive import CallerConfig
from node.event_log import Seldom
from node.events import (
    CommitmentAnswered,
    CommitmentAsked,
    CommitmentRefused,
    CommitmentReported,
    Event,
    Log,
)
from node.journal.commitments import RequestState
from node.journal.journal import Journal
from node.receive.admission import caller_refusal
from node.receive.arrival import Arrival
from node.receive.dimse import N_ACTION_RQ, Command, event_report
from node.receive.structure import survey

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from node.receive.association import Connection

MOST_BYTES: Final = 1_500_000
"""Bytes of a request or report: 10,000 references have 1 MB."""
MOST_REFERENCES: Final = 10_000
MOST_OPEN: Final = 64
"""Requests of one AE title that wait for their report."""
REPORT_HERE_S: Final = 10.0
"""Time in which the association of a request may take its report, while the peer is silent."""
_ANSWER_S: Final = 5.0
"""Time for the response to such a report, before it is sent again over another association."""

SUCCESS, PROCESSING_FAILURE, NO_SUCH_INSTANCE, NO_SUCH_EVENT = 0x0000, 0x0110, 0x0112, 0x0113
INVALID_VALUE, NO_SUCH_CLASS, NO_SUCH_ACTION = 0x0115, 0x0118, 0x0123
NOT_AUTHORISED, NO_RESOURCES = 0x0124, 0x0213
"""Statuses of N-ACTION and N-EVENT-REPORT (PS3.7 sections 10.1.4 and 10.1.1)."""

Answer = tuple[int, str]
"""Status and Error Comment."""


class Archive(NamedTuple):
    """A destination that may be asked for commitment, and reports on it."""

    name: str
    ae_title: str
    host: str


@dataclass(slots=True)
class _Open:
    """A request whose report may go out over its own association. sent: message id of the report, 0 before."""

    transaction_uid: str
    context: int
    syntax: str
    until: float
    sent: int = 0


class _Refused(Exception):
    """A message that is not served: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class Commitments:
    """Serves storage commitment in both roles."""

    journal: Journal
    log: Log
    archives: Sequence[Archive] = ()
    callers: Sequence[CallerConfig] = ()
    _open: dict[Connection, list[_Open]] = field(default_factory=dict)
    _numbers: dict[Connection, int] = field(default_factory=dict)
    _is_new: Seldom = field(default_factory=Seldom)

    def knows(self, calling: str) -> bool:
        """Return whether an AE title is that of a destination, which may report here."""
        return any(a.ae_title == calling for a in self.archives)

    def take(
        self, connection: Connection, context: int, command: Command, syntax: str, arrival: Arrival
    ) -> Answer:
        """Take a complete request or report; returns status and Error Comment."""
        try:
            ds = self._data_set(command, syntax, arrival)
            if command.field == N_ACTION_RQ:
                return self._requested(connection, context, command, syntax, ds)
            return self._report_came(connection, command, ds)
        except _Refused as refusal:
            return self._say_refused(connection, refusal.status, str(refusal))
        except BadCommitment as error:
            return self._say_refused(connection, INVALID_VALUE, str(error))
        except Exception as error:  # noqa: BLE001 - the peer asks or reports again
            return self._say_refused(connection, PROCESSING_FAILURE, type(error).__name__)

    @staticmethod
    def _data_set(command: Command, syntax: str, arrival: Arrival) -> Dataset:
        if command.sop_class != PUSH_MODEL:
            raise _Refused(NO_SUCH_CLASS, "only the Storage Commitment Push Model is offered")
        if command.sop_instance != PUSH_MODEL_INSTANCE:
            raise _Refused(NO_SUCH_INSTANCE, "not the well-known SOP Instance of the push model")
        if arrival.refusal:
            raise _Refused(NO_RESOURCES, arrival.refusal)
        raw = bytes(getattr(arrival, "content", b""))
        fault = survey(BytesIO(raw), len(raw), syntax, MOST_BYTES).fault
        if fault:
            raise _Refused(INVALID_VALUE, f"the data set cannot be read: {fault}")
        try:
            return commitment.decoded(raw, syntax)
        except Exception as error:  # damaged bytes make pydicom raise anything
            raise _Refused(INVALID_VALUE, "the data set cannot be read") from error

    # ---- asked of us ----

    def _requested(
        self, connection: Connection, context: int, command: Command, syntax: str, ds: Dataset
    ) -> Answer:
        if command.type_id != commitment.REQUEST:
            raise _Refused(NO_SUCH_ACTION, f"no action of type {command.type_id}")
        if not connection.calling:
            raise _Refused(NOT_AUTHORISED, "a request without a calling AE title")
        asked = commitment.read_request(ds, MOST_REFERENCES)
        if not asked.references:
            raise _Refused(INVALID_VALUE, "a request that refers to no object")
        outcome = self.journal.commitments.request(
            asked.transaction_uid, connection.calling, connection.address, asked.references,
            report_s=REPORT_HERE_S + _ANSWER_S, most=MOST_OPEN,
        )  # fmt: skip
        if outcome == "full":
            raise _Refused(NO_RESOURCES, f"{MOST_OPEN} requests of this AE title wait already")
        until = time.monotonic() + REPORT_HERE_S
        opened = self._open.setdefault(connection, [])
        opened.append(_Open(asked.transaction_uid, context, syntax, until))
        self.log(CommitmentAsked(connection.address, connection.calling, len(asked.references)))
        return SUCCESS, ""

    def awaits_report(self, connection: Connection) -> bool:
        """Return whether the association of a request may still take its report."""
        now = time.monotonic()
        return any(not o.sent and now < o.until for o in self._open.get(connection, ()))

    def next_report(self, connection: Connection) -> bytes:
        """Return a report that is ready as PDUs, b"" when none is."""
        for waiting in self._open.get(connection, ()):
            if waiting.sent:
                continue
            row = self.journal.commitments.find_request(waiting.transaction_uid, connection.calling)
            if row is None or row.state is not RequestState.CHECKED:
                continue
            references = [Reference(*pair) for pair in row.objects]
            event, ds = commitment.report_data_set(row.transaction_uid, references, row.failed)
            waiting.sent = self._numbers[connection] = self._numbers.get(connection, 0) + 1
            command = Command(0, waiting.sent, PUSH_MODEL, PUSH_MODEL_INSTANCE, True, event)
            data = commitment.encoded(ds, waiting.syntax)
            return event_report(waiting.context, command, data, connection.max_pdu)
        return b""

    def answered(self, connection: Connection, response: Command) -> bool:
        """Take the response to a report; False when none was sent under that message id."""
        opened = self._open.get(connection, [])
        mine = next((o for o in opened if o.sent and o.sent == response.message_id), None)
        if mine is None:
            return False
        opened.remove(mine)
        row = self.journal.commitments.find_request(mine.transaction_uid, connection.calling)
        if row is None:
            return True
        if response.status == SUCCESS:
            self.journal.commitments.reported(row.id)
            self.log(
                CommitmentAnswered(row.calling_ae, len(row.objects), len(row.failed), row.tries + 1)
            )
        else:
            self.journal.commitments.report_now(row.transaction_uid, row.calling_ae)
        return True

    def left(self, connection: Connection) -> None:
        """Let what its association did not take go out over another one."""
        self._numbers.pop(connection, None)
        for waiting in self._open.pop(connection, ()):
            self.journal.commitments.report_now(waiting.transaction_uid, connection.calling)

    # ---- asked by us ----

    def _report_came(self, connection: Connection, command: Command, ds: Dataset) -> Answer:
        if command.type_id not in {commitment.ALL_COMMITTED, commitment.SOME_FAILED}:
            raise _Refused(NO_SUCH_EVENT, f"no event of type {command.type_id}")
        report = commitment.read_report(ds, MOST_REFERENCES)
        row = self.journal.commitments.find(report.transaction_uid)
        if row is None:
            raise _Refused(INVALID_VALUE, "a report on a transaction that was never asked for")
        self._check_sender(connection, row.destination)
        is_first = self.journal.commitments.report(
            report.transaction_uid, report.committed, report.failed
        )
        self.log(
            CommitmentReported(
                row.destination, len(report.committed), len(report.failed), not is_first
            )
        )
        return SUCCESS, ""

    def _check_sender(self, connection: Connection, destination: str) -> None:
        """Let nothing but the destination that was asked report. Raises `_Refused`."""
        archive = next((a for a in self.archives if a.name == destination), None)
        if archive is None or connection.calling != archive.ae_title:
            raise _Refused(NOT_AUTHORISED, f"a report on what destination {destination} was asked")
        if connection.address in _addresses(archive.host):
            return
        if self.callers and not caller_refusal(
            self.callers, connection.address, connection.calling, connection.certificate
        ):
            return
        raise _Refused(
            NOT_AUTHORISED,
            f"a report for destination {destination} from another address than its host;"
            " list it as a [[receive.caller]]",
        )

    def _say_refused(self, connection: Connection, status: int, reason: str) -> Answer:
        """Log a refusal, the same one of a peer seldom."""
        event: Event = CommitmentRefused(
            connection.address, connection.calling, reason, f"0x{status:04X}"
        )
        if self._is_new(f"{connection.address} {connection.calling} {reason}"):
            self.log(event)
        return status, reason


def _addresses(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(entry[4][0]).removeprefix("::ffff:") for entry in found}
