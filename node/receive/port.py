"""What an association asks of the receiving step: whom to let in, what becomes of an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from node.receive.arrival import Arrival, Gathered
from node.receive.dimse import Command
from node.receive.wire import Refusal, Request, Roles

if TYPE_CHECKING:
    from node.receive.association import Connection


Outcome = Literal["released", "aborted", "closed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the service says to a request: a refusal with its reason, or an answer per context id.

    contexts: result (PS3.8 table 9-18) and transfer syntax. roles: those that are accepted, by SOP class.
    """

    contexts: dict[int, tuple[int, str]]
    refusal: Refusal | None = None
    reason: str = ""
    roles: Mapping[str, Roles] = field(default_factory=dict)


class Service(Protocol):
    """What an association serves."""

    def judge(self, connection: Connection, request: Request) -> Verdict:
        """Let a peer in, with a slot, or not."""
        ...

    def begin(self, connection: Connection, command: Command, syntax: str) -> Arrival:
        """Begin to take the data set of a C-STORE."""
        ...

    def store(
        self, connection: Connection, command: Command, syntax: str, arrival: Arrival
    ) -> tuple[int, str]:
        """Keep a complete data set; returns status and comment."""
        ...

    def gather(self) -> Gathered:
        """Begin to take the data set of an N-ACTION or N-EVENT-REPORT."""
        ...

    def commitment(
        self, connection: Connection, context: int, command: Command, syntax: str, arrival: Arrival
    ) -> tuple[int, str]:
        """Take a complete message of storage commitment; returns status and comment."""
        ...

    def awaits_report(self, connection: Connection) -> bool:
        """Return whether this association may still be used to report on a commitment that it asked for."""
        ...

    def report(self, connection: Connection) -> bytes:
        """Return a report to be sent now, as PDUs; b"" while none is ready."""
        ...

    def reported(self, connection: Connection, response: Command) -> bool:
        """Take the response to a report; False when none was sent under that message id."""
        ...

    def drop(self) -> Arrival:
        """Take a data set that is not wanted."""
        ...

    def refused(self, connection: Connection, reason: str) -> None:
        """Hear that a connection ended before there was an association."""
        ...

    def ended(self, connection: Connection, outcome: Outcome, reason: str) -> None:
        """Hear that an association is over; its slot is free from now on."""
        ...

    def left(self, connection: Connection) -> None:
        """Hear that the connection's thread ends."""
        ...
