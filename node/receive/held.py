"""Which objects that were asked for are held: acknowledged, and their bytes on disk as they came.

Held is every object that the node answered with success, whatever it made of it: also skipped, superseded and
quarantined ones, as long as the file has the digest that the journal recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from node.commitment import CLASS_CONFLICT, NO_SUCH_OBJECT, PROCESSING_FAILURE, Reference
from node.journal.commitments import RequestState
from node.journal.journal import Journal
from node.journal.rows import InstanceRow
from node.store.spool import Spool


@dataclass(slots=True)
class HeldStep:
    """Answers requests for storage commitment in the journal; other steps send the answer."""

    journal: Journal

    def run_once(self) -> int:
        """Check every request that waits; returns how many."""
        waiting = self.journal.commitments.requests(RequestState.ASKED)
        for row in waiting:
            references = (Reference(*pair) for pair in row.objects)
            self.journal.commitments.checked(row.id, not_held(self.journal, references))
        return len(waiting)


def not_held(journal: Journal, references: Iterable[Reference]) -> dict[str, int]:
    """Return the Failure Reason of every object that is not held, by SOP Instance UID."""
    reasons = {r.sop_instance: _reason(journal, r) for r in references}
    return {uid: reason for uid, reason in reasons.items() if reason}


def _reason(journal: Journal, reference: Reference) -> int:
    rows = journal.instances.named(reference.sop_instance)
    if not rows:
        return NO_SUCH_OBJECT
    same_class = [row for row in rows if row.sop_class_uid == reference.sop_class]
    if not same_class:
        return CLASS_CONFLICT
    return 0 if any(_intact(row) for row in same_class) else PROCESSING_FAILURE


def _intact(row: InstanceRow) -> bool:
    # The digest of a quarantined object also names its transfer syntax.
    return Spool.intact(row.path, row.digest.partition("-")[0])
