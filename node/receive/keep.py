"""One received object: durable first, then known to the journal; what it is to those that came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from node.events import Log, ObjectQuarantined
from node.journal.instances import CONFLICT
from node.journal.journal import Journal
from node.journal.rows import InstanceRow, NewInstance
from node.journal.states import InstanceState
from node.receive import identify as content
from node.receive.compare_process import Comparer
from node.receive.identify import Received
from node.store.spool import Spool, Stored, file_stem


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps received objects. largest: the most bytes that a deflated data set may inflate to."""

    spool: Spool
    journal: Journal
    largest: int
    log: Log
    _compare: Comparer = field(default_factory=Comparer)

    def close(self) -> None:
        """End the process that compares pixels."""
        self._compare.close()

    def keep(self, got: Received) -> str:
        """Make an object durable and known. Returns stored, same, corrected or quarantined."""
        found = content.survey(got, self.largest)
        reason = content.why_unusable(found, got.sop_instance)
        if reason:
            return self._quarantine(got, found.uids, reason)
        rows = self.journal.instances.named(got.sop_instance)
        known = next((r for r in rows if r.state is InstanceState.STORED), None)
        if known is None:
            return self._first(got, found.uids, rows)
        if known.digest == got.incoming.digest and known.transfer_syntax_uid == got.transfer_syntax:
            self.spool.restore(known.path, got.incoming)
            return "same"
        return self._again(got, found.uids, known, rows)

    def _first(self, got: Received, uids: dict[str, str], rows: Sequence[InstanceRow]) -> str:
        """Keep an object of which none is stored; one that came before is what it was then."""
        earlier = next((r for r in rows if r.digest in {got.incoming.digest, _apart(got)}), None)
        if earlier is None:
            stored = self.spool.put(got.incoming, got.transfer_syntax)
            added = self.journal.instances.add(_new_instance(got, uids, stored))
            if added == "conflict":  # two associations at once, each with other bytes
                self._alarm(got, CONFLICT, stored)
                return "quarantined"
            return added
        if (
            earlier.state is InstanceState.SUPERSEDED
            and earlier.transfer_syntax_uid == got.transfer_syntax
        ):
            stored = self.spool.put(got.incoming, got.transfer_syntax)
            return self.journal.instances.correct(_new_instance(got, uids, stored))
        return self._quarantine(got, uids, earlier.reason or CONFLICT)

    def _again(
        self, got: Received, uids: dict[str, str], known: InstanceRow, rows: Sequence[InstanceRow]
    ) -> str:
        """Keep an object whose SOP Instance UID is known with other bytes, or in another syntax."""
        verdict = self._compare(known.path, got.incoming.path)
        if verdict.value == "same":
            return "same"
        # The journal names an object by its bytes: in a second syntax they cannot be stored beside.
        twice = any(
            r.digest == got.incoming.digest and r.transfer_syntax_uid != got.transfer_syntax
            for r in rows
        )
        if verdict.value == "other" or twice:
            return self._quarantine(got, uids, verdict.reason or CONFLICT)
        stored = self.spool.put(got.incoming, got.transfer_syntax)
        return self.journal.instances.correct(_new_instance(got, uids, stored))

    def _quarantine(self, got: Received, uids: dict[str, str], reason: str) -> str:
        stored = self.spool.quarantine(got.incoming, got.transfer_syntax)
        instance = replace(_new_instance(got, uids, stored), digest=_apart(got))
        self.journal.instances.quarantine(instance, reason)
        self._alarm(got, reason, stored)
        return "quarantined"

    def _alarm(self, got: Received, reason: str, stored: Stored) -> None:
        uid = got.sop_instance if content.is_uid(got.sop_instance) else ""
        self.log(ObjectQuarantined(uid, reason, str(stored.path)))


def _apart(got: Received) -> str:
    """Digest of a quarantined row: with the syntax, so that the same bytes may be stored in the right one."""
    return file_stem(got.incoming.digest, got.transfer_syntax)


def _new_instance(got: Received, uids: dict[str, str], stored: Stored) -> NewInstance:
    return NewInstance(
        got.sop_instance,
        got.sop_class,
        uids["StudyInstanceUID"],
        uids["SeriesInstanceUID"],
        stored.digest,
        got.transfer_syntax,
        stored.path,
        stored.bytes,
        got.calling_ae,
    )
