"""What an association asks of the receiving step: whom to let in, what becomes of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from node.receive.arrival import Arrival
from node.receive.wire import Command, Refusal, Request

if TYPE_CHECKING:
    from node.receive.association import Connection


Outcome = Literal["released", "aborted", "closed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the service says to a request: a refusal with its reason, or an answer per context id.

    contexts: result (PS3.8 table 9-18) and transfer syntax.
    """

    contexts: dict[int, tuple[int, str]]
    refusal: Refusal | None = None
    reason: str = ""


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
