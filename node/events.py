"""What the service logs: one frozen class per event, never a sentence, never patient data.

UIDs, AE titles, counts and durations only. JSON in service, readable lines on a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a class per event, its name is the name in the log."""


Log = Callable[[Event], None]
"""Takes one event: what every step is given to write with."""


def noop_log(_: Event) -> None:
    """Drop the event: for steps that run without a log."""


@dataclass(frozen=True, slots=True)
class NodeStarted(Event):
    """The node listens."""

    ae_title: str
    host: str
    port: int
    state: str


@dataclass(frozen=True, slots=True)
class MetricsStarted(Event):
    """Metrics, health and readiness are served."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ConsoleStarted(Event):
    """The console is served."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ConsoleEnded(Event):
    """The console's process ended; `ends` in a row, the next start in `wait_s`. exit_code: -N is signal N."""

    exit_code: int
    ends: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class NodeReady(Event):
    """Every worker has its model."""

    workers: int


@dataclass(frozen=True, slots=True)
class WorkerRefused(Event):
    """A worker ended before it was ready; its own line has the reason. The node stops."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class WorkerEnded(Event):
    """A worker ended or was killed; `ends` in a row, the next start in `wait_s`. exit_code: -N is signal N."""

    worker: str
    exit_code: int
    reason: str
    ends: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class WorkerSaid(Event):
    """A line of a worker that is not an event: of a native library, or of the interpreter as it ends."""

    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class ClusterSeen(Event):
    """The cluster has changed: tasks that it can run at once, and what of it cannot be used, with the reasons."""

    slots: int
    unused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepHangs(Event):
    """A step has not returned for longer than it may take; a service manager with a watchdog restarts the node."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class NodeStopped(Event):
    """The node has stopped in order."""

    open_associations: int


@dataclass(frozen=True, slots=True)
class AssociationRefused(Event):
    """An association was rejected."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class CallersUnrestricted(Event):
    """No `[[receive.caller]]` is configured and the node listens beyond loopback: every peer may send."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CertificatesRenewed(Event):
    """Files of `[tls]` were read again; new connections use them. roles: contexts that were made."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificatesRefused(Event):
    """Changed files of `[tls]` cannot be used; the node continues with the earlier ones."""

    reason: str


@dataclass(frozen=True, slots=True)
class CertificateEnds(Event):
    """A certificate of `[tls]` ends soon, or has ended (days below zero)."""

    path: str
    days: int


@dataclass(frozen=True, slots=True)
class AssociationEnded(Event):
    """An association ended: released, aborted or closed, and why it was not released."""

    peer: str
    calling_ae: str
    stored: int
    same: int
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class ObjectQuarantined(Event):
    """An object was kept but is not used; it needs attention."""

    sop_instance: str
    reason: str
    path: str


@dataclass(frozen=True, slots=True)
class ObjectRefused(Event):
    """An object was refused before it was acknowledged."""

    peer: str
    reason: str
    status: str
    calling_ae: str = ""


@dataclass(frozen=True, slots=True)
class PullStarted(Event):
    """A study is fetched from a source. rule: which rule asked, "" for a person."""

    source: str
    study: str
    rule: str


@dataclass(frozen=True, slots=True)
class PullWaits(Event):
    """A try to fetch a study did not bring everything; the next try is in `wait_s`. missing: objects."""

    source: str
    study: str
    missing: int
    reason: str
    tries: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class PullEnded(Event):
    """A pull is done, had nothing to fetch, or is given up (failed). found: objects that may be eligible.

    pulled: objects that came. series_left: series that cannot be eligible by what the source says.
    """

    source: str
    study: str
    state: str
    found: int
    pulled: int
    series_left: int
    reason: str


@dataclass(frozen=True, slots=True)
class PullRuleRan(Event):
    """A rule asked its source for the studies of these study dates. studies: that may hold MR images."""

    rule: str
    source: str
    first: str
    last: str
    studies: int


@dataclass(frozen=True, slots=True)
class PullRuleWaits(Event):
    """A rule could not ask its source; the next try is in `wait_s`."""

    rule: str
    source: str
    reason: str
    tries: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class DeliverySent(Event):
    """A destination took every object of a result, or of a withdrawal (`kind`)."""

    destination: str
    result: str
    kind: str
    objects: int
    tries: int


@dataclass(frozen=True, slots=True)
class DeliveryConfirmed(Event):
    """A delivery is done. proof: stored, committed, or unproven; text: the answer."""

    destination: str
    result: str
    kind: str
    proof: str
    text: str


@dataclass(frozen=True, slots=True)
class DeliveryWaits(Event):
    """A delivery did not get through, or is not verified yet; the next try is in `wait_s`."""

    destination: str
    result: str
    kind: str
    reason: str
    tries: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class DeliveryFailed(Event):
    """A delivery is given up; `lumbar-node retry` sends it again."""

    destination: str
    result: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeliverySuperseded(Event):
    """A delivery is not needed any more: a newer result took the place of this one."""

    destination: str
    result: str


@dataclass(frozen=True, slots=True)
class WithdrawalCreated(Event):
    """A result that another one replaces is to be taken back from a destination. reason: why it was replaced."""

    destination: str
    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeliveriesWoken(Event):
    """A destination responds again; what waited for it is tried now."""

    destination: str
    deliveries: int


@dataclass(frozen=True, slots=True)
class DeliveryChangesCounted(Event):
    """Changes of deliveries within a minute that got no line of their own, by kind of change."""

    destination: str
    changes: dict[str, int]


@dataclass(frozen=True, slots=True)
class CommitmentAsked(Event):
    """A peer asked for storage commitment of objects that it sent; the answer follows."""

    peer: str
    calling_ae: str
    objects: int


@dataclass(frozen=True, slots=True)
class CommitmentAnswered(Event):
    """A peer took our report on the commitment that it asked for. not_held: objects that are not kept here."""

    calling_ae: str
    objects: int
    not_held: int
    tries: int


@dataclass(frozen=True, slots=True)
class CommitmentNotAnswered(Event):
    """A report on a commitment could not be delivered: when it is tried again, or that it is given up (None)."""

    calling_ae: str
    reason: str
    tries: int
    wait_s: float | None


@dataclass(frozen=True, slots=True)
class CommitmentReported(Event):
    """A destination reported on the commitment that it was asked for. same: whether it reported before."""

    destination: str
    committed: int
    failed: int
    same: bool


@dataclass(frozen=True, slots=True)
class CommitmentRefused(Event):
    """A message of storage commitment was refused."""

    peer: str
    calling_ae: str
    reason: str
    status: str


@dataclass(frozen=True, slots=True)
class SeriesTracked(Event):
    """A series is complete, incomplete, or can be judged although its geometry is not regular."""

    series: str
    instances: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesEnded(Event):
    """A series is finished: skipped, failed, or its results delivered everywhere.

    seconds: since its last object came.
    """

    series: str
    state: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CorrectionJudged(Event):
    """A segmentation that a viewer sent was judged. series: its own; source: the series that it segments, "" if none of ours."""

    series: str
    source: str
    state: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class FollowUpMade(Event):
    """A follow-up was made. series: of its newest result; studies: how many it compares."""

    series: str
    result_id: str
    studies: int


@dataclass(frozen=True, slots=True)
class FollowUpOutdated(Event):
    """A result that a follow-up compares does not count any more; it is taken back where `withdraw` says so."""

    result_id: str


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    """A retraining started; `start` counts attempts."""

    job: int
    start: int


@dataclass(frozen=True, slots=True)
class JobEnded(Event):
    """A retraining ended, or was put back into the queue."""

    job: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelChanged(Event):
    """Another bundle was put into service; the worker restarts with it."""

    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class SelftestEnded(Event):
    """The daily self-test ended. outcome: passed, drifted or failed; drift_mm: from the first run, None without one."""

    outcome: str
    reason: str
    drift_mm: float | None
    cpu_s: float


@dataclass(frozen=True, slots=True)
class SelftestGaveWay(Event):
    """A series came while the self-test ran: it was ended, and starts again when the node is idle."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class SpoolSwept(Event):
    """Files without a row in the journal, found at the start.

    removed_parts: unfinished files and folders. adopted: objects. set_aside: objects that cannot be used.
    left: files that can be neither read nor moved; the next start tries them again. results: result
    folders that were recorded in a new journal.
    """

    removed_parts: int
    adopted: int
    set_aside: int
    left: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class SeriesPurged(Event):
    """Files of a series were removed by `[retention]`: objects and results. before: the state that it had."""

    series: str
    before: str
    reason: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class QuarantinePurged(Event):
    """Files of quarantined objects were removed by `[retention]`, the oldest first."""

    reason: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PurgeResumed(Event):
    """What a purge that was killed had marked was removed."""

    series: int


@dataclass(frozen=True, slots=True)
class RetentionShort(Event):
    """The disk is to be emptier by `[retention]`, and nothing more may leave: what is kept is not delivered with proof."""

    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class NoticeSent(Event):
    """A message to people was sent. kind: changes or digest."""

    channel: str
    kind: str


@dataclass(frozen=True, slots=True)
class NoticeFailed(Event):
    """A message to people could not be sent; it is kept and tried again, ever later."""

    channel: str
    reason: str
    tries: int


@dataclass(frozen=True, slots=True)
class StepFailed(Event):
    """A step raised an error; it will be retried. trace: as `error_trace` returns it."""

    step: str
    error: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowFailed(Event):
    """A step could not act on one series, which waits; the others do not. trace: as `error_trace` returns it."""

    step: str
    series: str
    error: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ThreadFailed(Event):
    """An error was raised outside every handler. trace: as `error_trace` returns it."""

    thread: str
    error: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LibraryComplained(Event):
    """A library logged or warned: where, and the class of the error. Its text may quote a data set."""

    level: str
    place: str
    error: str = ""
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HungUp(Event):
    """SIGHUP was received; whether the log file was reopened."""

    reopened: bool
