"""What passes between the parts of an association: a message that has begun, and its end."""

from __future__ import annotations

from dataclasses import dataclass

from node.receive.arrival import Arrival
from node.receive.dimse import Command
from node.receive.port import Outcome


class AssociationEnd(Exception):
    """The connection is over. last: what is still sent to the peer."""

    def __init__(self, outcome: Outcome, reason: str, last: bytes = b"") -> None:
        super().__init__(reason)
        self.outcome, self.reason, self.last = outcome, reason, last


@dataclass(slots=True)
class Message:
    """A DIMSE message that has begun: its command as it arrives, then its data set."""

    context: int
    raw: bytearray
    command: Command | None = None
    arrival: Arrival | None = None
