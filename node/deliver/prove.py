"""How it is known that a destination holds what it took: a query, or storage commitment (PS3.4 annex J).

`proof` of the destination chooses. A request for commitment is in the journal before it is sent; the report may come
over the same association, or hours later to our own acceptor, also after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from node.backoff import wait_s
from node.commitment import (
    DUPLICATE_TRANSACTION,
    NO_RESOURCES,
    NO_SUCH_OBJECT,
    PROCESSING_FAILURE,
    Reference,
    Report,
    Request,
    new_transaction_uid,
    reason_words,
)
from node.config.destinations import DestinationConfig, DicomDestination
from node.deliver.port import Archive, Destination, ResultFile, StorageCheck
from node.journal.commitments import CommitmentRow, CommitmentState
from node.journal.journal import Journal
from node.journal.rows import WITHDRAWAL, DeliveryRow

HERE_S: Final = 2.0
"""Time for a report over the association of its request: most archives look first and begin one of their own."""
FIRST_REPORT_S: Final = 600.0
LONGEST_REPORT_S: Final = 14_400.0
"""Time for a report before the request is repeated, doubled each time: some archives look when they are idle."""
AUTO_REQUESTS: Final = 3
"""Requests without a report after which `proof = "auto"` takes an archive for one that never reports."""

_PASSES: Final = frozenset({PROCESSING_FAILURE, NO_RESOURCES, DUPLICATE_TRANSACTION})
"""Failure Reasons that say nothing about the object: the request is repeated."""
_HIDDEN: Final = StorageCheck(
    "unsupported", "a withdrawal is not verified: a peer that acts on it may hide it"
)


@dataclass(frozen=True, slots=True)
class Prover:
    """Asks one destination, in the way that its configuration says."""

    journal: Journal
    config: DestinationConfig
    destination: Destination

    def check(self, row: DeliveryRow, files: Sequence[ResultFile]) -> StorageCheck:
        """Return what is known of these files of a sent delivery, after asking for it."""
        if row.kind == WITHDRAWAL:
            return _HIDDEN
        transactions = self.journal.commitments.of_delivery(row.id)
        reported = [t for t in transactions if t.state is CommitmentState.REPORTED]
        if reported:
            return self._judge(reported[-1], files)
        for late in (t for t in transactions if t.state is CommitmentState.ASKED):
            self.journal.commitments.close(late.transaction_uid, CommitmentState.EXPIRED)
        if not isinstance(self.config, DicomDestination) or self.config.proof in {"query", "none"}:
            return self.destination.verify_stored(files)
        if self.config.proof == "commitment":
            return self._ask(row, files, len(transactions))
        found = self.destination.verify_stored(files)
        if found.value != "unsupported":
            return found
        if len(transactions) >= AUTO_REQUESTS:
            text = f"{found.text}; {len(transactions)} requests for storage commitment brought no report"
            return StorageCheck("unsupported", text)
        asked = self._ask(row, files, len(transactions))
        return found if asked.value == "unsupported" else asked

    def _ask(self, row: DeliveryRow, files: Sequence[ResultFile], before: int) -> StorageCheck:
        """Ask for commitment, and take a report that comes at once. before: requests without a report."""
        uid = new_transaction_uid()
        request = Request(uid, tuple(Reference(f.sop_class, f.sop_instance) for f in files))
        self.journal.commitments.ask(uid, row.id, {f.sop_instance: f.name for f in files})
        archive = cast("Archive", self.destination)
        answer = archive.commit(
            request, HERE_S, self._keep, lambda: self._reported(uid) is not None
        )
        reported = self._reported(uid)
        if reported is not None:
            return self._judge(reported, files)
        if answer.value == "accepted":
            wait = wait_s(before + 1, FIRST_REPORT_S, LONGEST_REPORT_S)
            return StorageCheck("asked", f"{answer.text}; its report is awaited", wait_s=wait)
        self.journal.commitments.close(uid, CommitmentState.DONE)
        unsupported = answer.value == "unsupported" and self._config.proof == "auto"
        return StorageCheck(
            "unsupported" if unsupported else "unknown", answer.text, status=answer.status
        )

    @property
    def _config(self) -> DicomDestination:
        return cast("DicomDestination", self.config)

    def _keep(self, report: Report) -> None:
        """Make a report durable; runs in a thread of the association."""
        try:
            self.journal.commitments.report(report.transaction_uid, report.committed, report.failed)
        finally:
            self.journal.close()

    def _reported(self, uid: str) -> CommitmentRow | None:
        row = self.journal.commitments.find(uid)
        return row if row is not None and row.state is CommitmentState.REPORTED else None

    def _judge(self, row: CommitmentRow, files: Sequence[ResultFile]) -> StorageCheck:
        """Return what a report says of these files; one that leaves an object out says nothing of it."""
        committed = {row.objects[uid] for uid in row.committed if uid in row.objects}
        failed = {row.objects[uid]: why for uid, why in row.failed.items() if uid in row.objects}
        who, wanted = "storage commitment:", [f.name for f in files]
        lost = tuple(n for n in wanted if failed.get(n) == NO_SUCH_OBJECT)
        if lost:
            return StorageCheck("missing", f"{who} not kept: {', '.join(lost)}", lost)
        refused = {
            name: f"{who} {reason_words(why)}"
            for name, why in failed.items()
            if name in wanted and why not in _PASSES
        }
        if refused:
            return StorageCheck("refused", "; ".join(refused.values()), refused=refused)
        if set(wanted) <= committed:
            text = f"{who} {self.destination.name} committed {len(wanted)} objects"
            return StorageCheck("stored", text, proof="committed")
        self.journal.commitments.close(row.transaction_uid, CommitmentState.DONE)
        reasons = [f"{n}: {reason_words(failed[n])}" for n in wanted if n in failed]
        unlisted = [n for n in wanted if n not in failed and n not in committed]
        if unlisted:
            reasons.append(f"the report does not list {', '.join(unlisted)}")
        return StorageCheck("unknown", f"{who} {'; '.join(reasons)}")
