"""Report storage commitment to the peers that asked for it, over an association of our own.

In: requests whose answer is known, and which their own association did not take. The address is that of the
destination with the peer's AE title.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from node.backoff import wait_s
from node.commitment import Reference
from node.config.destinations import DicomDestination
from node.config.sections import Config
from node.deliver.factory import build_archive
from node.deliver.port import Archive
from node.events import CommitmentAnswered, CommitmentNotAnswered, Log, noop_log
from node.faults import describe_error
from node.journal.commitments import RequestRow
from node.journal.file import is_damage
from node.journal.journal import Journal
from node.tls.credentials import Credentials

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 900.0
PATIENCE_S: Final = 86_400.0
"""A peer that does not take a report for a day has asked again, or does not need it."""


@dataclass(slots=True)
class ReportStep:
    """Sends what is due. archives: by AE title. spread: 0…1 for the jitter of waits."""

    journal: Journal
    archives: Mapping[str, Archive]
    now: Callable[[], float]
    spread: Callable[[], float]
    log: Log

    def run_once(self) -> int:
        """Send every report that is due; returns how many were tried."""
        due = self.journal.commitments.due_reports(self.now())
        away: dict[str, str] = {}
        for row in due:
            if row.calling_ae in away:  # one peer that does not respond delays no other
                self._later(row, away[row.calling_ae])
                continue
            reason = self._report(row)
            if reason:
                away[row.calling_ae] = reason
        return len(due)

    def _report(self, row: RequestRow) -> str:
        """Send one report; returns "", or why it was not taken."""
        archive = self.archives.get(row.calling_ae)
        if archive is None:
            self._give_up(
                row,
                "no address of this AE title is known;"
                ' add a [[node.destination]] of kind "dicom" with it, or keep the association open',
            )
            return ""
        try:
            references = [Reference(*pair) for pair in row.objects]
            reason = archive.tell(row.transaction_uid, references, row.failed)
        except Exception as error:
            if is_damage(error):
                raise
            reason = describe_error(error)
        if not reason:
            self.journal.commitments.reported(row.id)
            self.log(
                CommitmentAnswered(row.calling_ae, len(row.objects), len(row.failed), row.tries + 1)
            )
        elif row.waited_s >= PATIENCE_S:
            self._give_up(row, reason)
        else:
            self._later(row, reason)
        return reason

    def _later(self, row: RequestRow, reason: str) -> None:
        wait = wait_s(row.tries + 1, FIRST_WAIT_S, LONGEST_WAIT_S, self.spread())
        self.journal.commitments.defer_report(row.id, reason, wait)
        if reason != row.reason:
            self.log(CommitmentNotAnswered(row.calling_ae, reason, row.tries + 1, round(wait, 1)))

    def _give_up(self, row: RequestRow, reason: str) -> None:
        self.journal.commitments.drop(row.id, reason)
        self.log(CommitmentNotAnswered(row.calling_ae, reason, row.tries, None))


def report_step(
    config: Config,
    journal: Journal,
    now: Callable[[], float],
    spread: Callable[[], float],
    log: Log = noop_log,
    credentials: Credentials | None = None,
) -> ReportStep:
    """Return the step for every configured destination that may ask for commitment."""
    ae_title = config.node.ae_title
    peers = [d for d in config.destinations if isinstance(d, DicomDestination)]
    archives = {d.ae_title: build_archive(d, ae_title, credentials) for d in peers}
    return ReportStep(journal, archives, now, spread, log)
