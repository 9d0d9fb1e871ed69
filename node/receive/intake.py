"""One object on its way in; those that the node fetches itself are as durable, and as little trusted, as those sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from dicomseg.errors import LumbarError
from node.events import Log, ObjectRefused
from node.faults import describe_error
from node.receive import identify as content
from node.receive.arrival import Arrival
from node.receive.identify import Received
from node.receive.keep import Keeper
from node.receive.limits import Unfinished
from node.store.spool import Spool, file_meta

REFUSED: Final = "0xA700"
"""Status by which the log names an object that was not kept, as of one that was sent."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source declares of an object. study: to which it must belong. sender: under which it is kept."""

    study: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    sender: str


@dataclass(frozen=True, slots=True)
class Intake:
    """Keeps fetched objects by the limits of reception. largest: bytes of one. room: why there is none, or ""."""

    spool: Spool
    keeper: Keeper
    unfinished: Unfinished
    largest: int
    room: Callable[[], str]
    log: Log

    def take(self, fetched: Fetched, fragments: Iterable[memoryview]) -> str:
        """Make one object durable and known; returns why it was not kept, "" when it was (or is quarantined).

        fragments: the data set's bytes; not all are asked for where it is too long. What they raise passes through.
        """
        reason = self.room() or self._take(fetched, fragments)
        if reason:
            self.log(ObjectRefused("", reason, REFUSED, fetched.sender))
        return reason

    def _take(self, fetched: Fetched, fragments: Iterable[memoryview]) -> str:
        arrival = self.begin(
            fetched.sop_class, fetched.sop_instance, fetched.transfer_syntax, fetched.sender
        )
        try:
            for fragment in fragments:
                arrival.write(fragment)
                if arrival.too_long or (arrival.refusal and arrival.incoming is None):
                    break
            if arrival.refusal or arrival.incoming is None:
                return arrival.refusal
            received = Received(
                arrival.incoming, fetched.sop_class, fetched.sop_instance,
                fetched.transfer_syntax, fetched.sender,
            )  # fmt: skip
            return self._kept(received, fetched.study)
        finally:
            arrival.close()

    def begin(
        self, sop_class: str, sop_instance: str, transfer_syntax: str, sender: str
    ) -> Arrival:
        """Begin to take the data set of an object that is declared so; a fault is its refusal."""
        meta = file_meta(sop_class, sop_instance, transfer_syntax, sender)
        try:
            return Arrival(self.spool.begin(meta), "", self.largest, self.unfinished)
        except OSError as error:
            return Arrival(None, error.strerror or str(error), self.largest, self.unfinished)
        except LumbarError as error:
            return Arrival(None, str(error), self.largest, self.unfinished)

    def _kept(self, received: Received, study: str) -> str:
        try:
            named = content.survey(received, self.largest).uids["StudyInstanceUID"]
            if content.is_uid(named) and named != study:
                return "the data set belongs to another study, which was not asked for"
            self.keeper.keep(received)
        except OSError as error:
            return error.strerror or str(error)
        except LumbarError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - one object does not end the others
            return describe_error(error)
        return ""
