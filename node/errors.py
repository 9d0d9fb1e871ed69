"""What can go wrong in the service: one class per reason, with its exit code and a remedy.

LumbarError (dicomseg.errors)
├── ConfigError
│   ├── SecretUnusable
│   └── TlsError
├── StateRefused
│   ├── JournalTooNew
│   ├── JournalOutdated
│   ├── JournalDamaged
│   └── AlreadyRunning
├── PortBusy
├── UnknownUid
├── IllegalTransition
├── ChangedMeanwhile
├── ClaimLost
├── AttemptLost
├── ClusterAway
├── ClusterRefused
├── UsersRefused
├── BeingPurged
├── DiskFull
├── DamagedResult
├── UsageError
├── BenchFailed
├── DrawingFailed
├── FollowUpFailed
├── UnknownJob
├── JobStateError
├── PromotionRefused
├── RunFileUnreadable
├── NoSuchPath
├── NothingEligible
├── NothingToVerify
├── NothingTested
├── PhantomNotMade
├── PhantomRefused
├── PackagesApart
├── UnknownDestination
├── UnknownSource
├── PeerUnreachable
├── NoticeUndelivered
└── NothingConfigured

Errors of the demonstration are in its room; those of input, model and bundle in `dicomseg` and `model`.
"""

from __future__ import annotations

from dicomseg.errors import LumbarError


class ConfigError(LumbarError):
    """The configuration file cannot be used; the message names every wrong line and what to change."""

    code = "config"
    exit_code = 2


class SecretUnusable(ConfigError):
    """The file of a secret cannot be used: its path and the cause, never its content."""

    code = "secret-unusable"


class TlsError(ConfigError):
    """A file of `[tls]` cannot be used; the message names key, file and remedy."""

    code = "tls"


class StateRefused(LumbarError):
    """The state folder cannot be used; see the message."""

    code = "state-refused"
    exit_code = 2


class JournalTooNew(StateRefused):
    """The journal was written by a newer version; install that version or restore a backup."""

    code = "journal-too-new"


class JournalOutdated(StateRefused):
    """The journal was written by an older version; `lumbar-node serve` of this version migrates it."""

    code = "journal-outdated"


class JournalDamaged(StateRefused):
    """The journal's file is broken; stop the node and run `lumbar-node doctor --rebuild`."""

    code = "journal-damaged"


class AlreadyRunning(StateRefused):
    """Another node runs on this state folder; stop it or configure another [node] state."""

    code = "already-running"


class PortBusy(LumbarError):
    """The port is in use; stop the program that holds it or configure another [node] port."""

    code = "port-busy"
    exit_code = 2


class UnknownUid(LumbarError):
    """The journal has no such study, series, instance or result."""

    code = "unknown-uid"
    exit_code = 3


class IllegalTransition(LumbarError):
    """The state table has no such transition; something acts on an outdated view."""

    code = "illegal-transition"


class ChangedMeanwhile(LumbarError):
    """Something happened to a series since its page was made; the message names the event and the person."""

    code = "changed-meanwhile"


class ClaimLost(LumbarError):
    """The series was taken away meanwhile (late slice, time limit, restart); its result is dropped."""

    code = "claim-lost"


class AttemptLost(LumbarError):
    """The machine that computed a series ended or took too long; the series is tried again elsewhere."""

    code = "attempt-lost"


class ClusterAway(LumbarError):
    """The cluster did not begin: it cannot be reached, or a worker ended before it began; wait, no attempt was lost."""

    code = "cluster-away"
    exit_code = 5


class ClusterRefused(LumbarError):
    """A scheduler or worker cannot be started as asked; see the message."""

    code = "cluster-refused"
    exit_code = 2


class UsersRefused(LumbarError):
    """A user of the console cannot be added, changed or read; the message says why."""

    code = "users-refused"
    exit_code = 2


class BeingPurged(LumbarError):
    """The files of this object or series are being removed just now; try again."""

    code = "being-purged"
    exit_code = 3


class DiskFull(LumbarError):
    """The state folder's disk is too full to keep another object; free space or move [node] state."""

    code = "disk-full"
    exit_code = 2


class DamagedResult(LumbarError):
    """A file of a result is gone or is not what was written; make the result again with --force."""

    code = "damaged-result"


class UsageError(LumbarError):
    """Nothing can be measured with these options; see the message for the one to change."""

    code = "bench-refused"
    exit_code = 2


class BenchFailed(LumbarError):
    """The engine that the others are measured by did not run; see the message."""

    code = "bench-failed"
    exit_code = 6


class DrawingFailed(LumbarError):
    """Page and surfaces of a result could not be drawn; the result is complete without them.

    trace: where, in the process that drew, as `node.faults.error_trace` returns it.
    """

    code = "drawing-failed"

    def __init__(self, text: str, trace: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.trace = trace


class FollowUpFailed(LumbarError):
    """A follow-up could not be made; the results that it would compare are complete without it."""

    code = "followup-failed"


class UnknownJob(LumbarError):
    """The journal has no such job; `lumbar-node jobs list` shows what there is."""

    code = "unknown-job"
    exit_code = 3


class JobStateError(LumbarError):
    """The job is in a state, or has options, that do not allow this; see the message."""

    code = "job-refused"
    exit_code = 3


class PromotionRefused(LumbarError):
    """The bundle may not be put into service; see the message for the reason and the remedy."""

    code = "promotion-refused"
    exit_code = 6


class RunFileUnreadable(LumbarError):
    """A file of a training is missing, damaged, too large or no file; its name and which of these."""

    code = "run-file-unreadable"


class NoSuchPath(LumbarError):
    """A path does not exist; correct it."""

    code = "no-such-path"
    exit_code = 2


class NothingEligible(LumbarError):
    """No series can be worked on; the table says why for each."""

    code = "nothing-eligible"
    exit_code = 3


class NothingToVerify(LumbarError):
    """The folder holds neither a result nor a DICOM file; name another."""

    code = "nothing-to-verify"
    exit_code = 3


class NothingTested(LumbarError):
    """There is no run of the self-test to show."""

    code = "nothing-tested"
    exit_code = 3


class PhantomNotMade(LumbarError):
    """The synthetic study could not be written; the generator's last line says why."""

    code = "phantom"


class PhantomRefused(LumbarError):
    """The synthetic study has no result, or not all of it; the model or its engine is not fit for use."""

    code = "phantom-refused"
    exit_code = 4


class PackagesApart(LumbarError):
    """Another package with one of our generic names is installed; use a fresh environment."""

    code = "packages-apart"
    exit_code = 2


class UnknownDestination(LumbarError):
    """No destination has this name; the message lists those there are."""

    code = "unknown-destination"
    exit_code = 2


class UnknownSource(LumbarError):
    """No [[pull.source]] has this name; the message lists those there are."""

    code = "unknown-source"
    exit_code = 2


class PeerUnreachable(LumbarError):
    """A destination does not answer, or refuses; the message names it and what to check."""

    code = "peer-unreachable"
    exit_code = 5


class NoticeUndelivered(LumbarError):
    """A message could not be sent by mail or webhook; the message names the server and what to check."""

    code = "notice-undelivered"
    exit_code = 5


class NothingConfigured(LumbarError):
    """What the command is to try is not configured; the message names the section."""

    code = "nothing-configured"
    exit_code = 3
