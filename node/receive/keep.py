"""One received object: durable first, then known to the journal; what it is to those that came before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from node.errors import BeingPurged
from node.events import Log, ObjectQuarantined
from node.journal.instances import CONFLICT
from node.journal.journal import Journal
from node.journal.rows import InstanceRow, NewInstance
from node.journal.states import InstanceState
from node.receive import identify as content
from node.receive.compare_process import Comparer
from node.receive.group_commit import GroupCommit
from node.receive.identify import Received
from node.store.spool import Spool, Stored, file_stem

PURGE_S: Final = 5.0
"""Longest wait for a purge of the same object: it removes one series at a time."""
_LOOK_S: Final = 0.02
_BEING_PURGED: Final = "this object is being purged; send it again"


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps received objects. largest: the most bytes that a deflated data set may inflate to."""

    spool: Spool
    journal: Journal
    largest: int
    log: Log
    _compare: Comparer = field(default_factory=Comparer)
    _commits: GroupCommit = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_commits", GroupCommit(self.journal))

    def close(self) -> None:
        """End the process that compares pixels."""
        self._compare.close()

    def keep(self, received: Received) -> str:
        """Make an object durable and known. Returns stored, same, corrected or quarantined."""
        walk = content.survey(received, self.largest)
        reason = content.why_unusable(walk, received.sop_instance)
        if reason:
            return self._quarantine(received, walk.uids, reason)
        rows = self._named(received.sop_instance)
        known = next((r for r in rows if r.state is InstanceState.STORED), None)
        if known is None:
            return self._first(received, walk.uids, rows)
        if (
            known.digest == received.incoming.digest
            and known.transfer_syntax_uid == received.transfer_syntax
        ):
            if self.spool.restore(known.path, received.incoming) and not self._is_stored(known):
                # It was purged meanwhile: the file is there again, and its row is not.
                size = received.incoming.file_bytes
                return self._add(
                    received, walk.uids, Stored(known.path, received.incoming.digest, size)
                )
            return "same"
        return self._again(received, walk.uids, known, rows)

    def _named(self, sop_instance: str) -> list[InstanceRow]:
        """Return the rows of an object, when no purge of it is under way. Raises `BeingPurged` after a while."""
        ends_at = time.monotonic() + PURGE_S
        while True:
            rows = self.journal.instances.named(sop_instance)
            if all(r.state is not InstanceState.PURGING for r in rows):
                return rows
            if time.monotonic() > ends_at:
                raise BeingPurged(_BEING_PURGED)
            time.sleep(_LOOK_S)

    def _first(self, received: Received, uids: dict[str, str], rows: Sequence[InstanceRow]) -> str:
        """Keep an object of which none is stored; one that came before is what it was then."""
        earlier = next(
            (r for r in rows if r.digest in {received.incoming.digest, _apart(received)}), None
        )
        if earlier is None or earlier.state is InstanceState.PURGED:
            stored = self.spool.place(received.incoming, received.transfer_syntax)
            return self._add(received, uids, stored)
        if (
            earlier.state is InstanceState.SUPERSEDED
            and earlier.transfer_syntax_uid == received.transfer_syntax
        ):
            stored = self.spool.put(received.incoming, received.transfer_syntax)
            return self.journal.instances.correct(_new_instance(received, uids, stored))
        return self._quarantine(received, uids, earlier.reason or CONFLICT)

    def _add(self, received: Received, uids: dict[str, str], stored: Stored) -> str:
        """Give a durable file its row. Raises `BeingPurged`."""
        added = self._commits.add(_new_instance(received, uids, stored))
        if added == "stored" and not stored.path.exists():
            # Another association's file stood for these bytes, and was purged before this row was written.
            raise BeingPurged(_BEING_PURGED)
        if added == "conflict":  # two associations at once, each with other bytes
            self._alarm(received, CONFLICT, stored)
            return "quarantined"
        return added

    def _is_stored(self, known: InstanceRow) -> bool:
        rows = self._named(known.sop_instance_uid)
        return any(r.digest == known.digest and r.state is InstanceState.STORED for r in rows)

    def _again(
        self,
        received: Received,
        uids: dict[str, str],
        known: InstanceRow,
        rows: Sequence[InstanceRow],
    ) -> str:
        """Keep an object whose SOP Instance UID is known with other bytes, or in another syntax."""
        verdict = self._compare(known.path, received.incoming.path)
        if verdict.value == "same":
            return "same"
        # The journal names an object by its bytes: in a second syntax they cannot be stored beside.
        twice = any(
            r.digest == received.incoming.digest
            and r.transfer_syntax_uid != received.transfer_syntax
            for r in rows
        )
        if verdict.value == "other" or twice:
            return self._quarantine(received, uids, verdict.reason or CONFLICT)
        stored = self.spool.put(received.incoming, received.transfer_syntax)
        return self.journal.instances.correct(_new_instance(received, uids, stored))

    def _quarantine(self, received: Received, uids: dict[str, str], reason: str) -> str:
        stored = self.spool.quarantine(received.incoming, received.transfer_syntax)
        instance = replace(_new_instance(received, uids, stored), digest=_apart(received))
        self.journal.instances.quarantine(instance, reason)
        self._alarm(received, reason, stored)
        return "quarantined"

    def _alarm(self, received: Received, reason: str, stored: Stored) -> None:
        uid = received.sop_instance if content.is_uid(received.sop_instance) else ""
        self.log(ObjectQuarantined(uid, reason, str(stored.path)))


def _apart(received: Received) -> str:
    """Digest of a quarantined row: with the syntax, so that the same bytes may be stored in the right one."""
    return file_stem(received.incoming.digest, received.transfer_syntax)


def _new_instance(received: Received, uids: dict[str, str], stored: Stored) -> NewInstance:
    return NewInstance(
        received.sop_instance,
        received.sop_class,
        uids["StudyInstanceUID"],
        uids["SeriesInstanceUID"],
        stored.digest,
        received.transfer_syntax,
        stored.path,
        stored.bytes,
        received.calling_ae,
    )
