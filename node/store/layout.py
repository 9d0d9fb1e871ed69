"""Where everything below `[node] state` lies: each name is written here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The paths of one node's state, all on one file system; nothing is created here."""

    root: Path

    @property
    def journal(self) -> Path:
        """The SQLite file; `-wal` and `-shm` beside it belong to it."""
        return self.root / "journal.sqlite"

    @property
    def new_journal(self) -> Path:
        """A journal that `doctor --rebuild` has not finished."""
        return self.root / ".journal.sqlite.new"

    @property
    def audit(self) -> Path:
        """The audit trail: one file per month, never deleted by the node."""
        return self.root / "audit"

    @property
    def lock(self) -> Path:
        """Held by the running node."""
        return self.root / "lock"

    @property
    def purge_lock(self) -> Path:
        """Held by the process that removes files."""
        return self.root / "purge.lock"

    @property
    def aside(self) -> Path:
        """What `doctor --repair` moved away, one folder per repair; the node never reads it."""
        return self.root / "aside"

    @property
    def notices(self) -> Path:
        """What was reported to people, and what still has to be."""
        return self.root / "notices.json"

    @property
    def identity_key(self) -> Path:
        """Key of the digests by which the journal finds patients; without it they are made again under another."""
        return self.root / "identity.key"

    @property
    def users(self) -> Path:
        """Who may use the console: names, roles and hashes of passwords."""
        return self.root / "users.json"

    @property
    def spool(self) -> Path:
        """Received objects, `<first two digits of the digest>/<digest>.dcm`."""
        return self.root / "spool"

    @property
    def quarantine(self) -> Path:
        """Received objects that cannot be used."""
        return self.root / "quarantine"

    @property
    def results(self) -> Path:
        """One folder per result, named by its UID."""
        return self.root / "results"

    @property
    def withdrawals(self) -> Path:
        """Rejection notes, one folder each."""
        return self.root / "withdrawals"

    @property
    def verified(self) -> Path:
        """Reports that physicians confirmed: `<result>/<id>/verified.dcm`."""
        return self.root / "verified"

    @property
    def outgoing(self) -> Path:
        """Objects in the form that a destination wants, while they are sent; one folder per destination."""
        return self.root / "outgoing"

    @property
    def models(self) -> Path:
        """Installed bundles."""
        return self.root / "models"

    @property
    def engines(self) -> Path:
        """Converted networks, unless `[model] cache` says another folder."""
        return self.root / "engines"

    @property
    def fonts(self) -> Path:
        """What the library that draws pages keeps of the machine's fonts; may be deleted."""
        return self.root / "fonts"

    @property
    def acceptance(self) -> Path:
        """Records of acceptance tests, one folder each."""
        return self.root / "acceptance"

    @property
    def selftest(self) -> Path:
        """The synthetic study of the self-test, and the history of its results."""
        return self.root / "selftest"

    @property
    def corrections(self) -> Path:
        """Corrected segmentations with their images: `accepted/<id>`, and `replaced/<id>` behind a later one."""
        return self.root / "corrections"

    def job(self, job_id: int) -> Path:
        """Return the folder of a retraining job."""
        return self.root / "jobs" / str(job_id)
