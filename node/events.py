"""What the service logs: one frozen class per event, never a sentence, never patient data.

UIDs, AE titles, counts and durations only. JSON in service, readable lines on a terminal.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from dicomseg.errors import LumbarError


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """The node listens."""

    ae_title: str
    host: str
    port: int
    state: str


@dataclass(frozen=True, slots=True)
class NodeReady:
    """Every worker has its model."""

    workers: int


@dataclass(frozen=True, slots=True)
class WorkerRefused:
    """A worker ended before it was ready; its own line says why. The node stops."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """A worker ended by itself or was ended; `ends` in a row, the next start in `wait_s`. exit_code: -N is signal N."""

    worker: str
    exit_code: int
    reason: str
    ends: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class WorkerSaid:
    """A line of a worker that is no event: of a native library, or of the interpreter as it ends."""

    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """The ordered stop is done."""

    open_associations: int


@dataclass(frozen=True, slots=True)
class AssociationRefused:
    """Somebody was not let in."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association is over; outcome released, aborted or closed, and why it was not released."""

    peer: str
    calling_ae: str
    stored: int
    same: int
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class ObjectQuarantined:
    """An object was kept but not used: somebody has to look."""

    sop_instance: str
    reason: str
    path: str


@dataclass(frozen=True, slots=True)
class ObjectRefused:
    """An object was refused before it was acknowledged."""

    peer: str
    reason: str
    status: str


@dataclass(frozen=True, slots=True)
class SeriesTracked:
    """A series is complete, incomplete, or can be judged without being regular."""

    series: str
    instances: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesEnded:
    """A series came to its end here: skipped, failed, or its results delivered everywhere.

    seconds: since its last object came.
    """

    series: str
    state: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A retraining runs, for the how manieth time."""

    job: int
    start: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A retraining came to its end, or was put back into the queue."""

    job: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """Another bundle was put into service: the worker ends and starts again with it."""

    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class SpoolSwept:
    """What the start found without a row.

    removed_parts: unfinished files and folders. adopted: objects. set_aside: objects that cannot be used.
    left: files that can be neither read nor moved; the next start tries them again. results: result
    folders that a new journal was told of.
    """

    removed_parts: int
    adopted: int
    set_aside: int
    left: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step met a fault and tries again. trace: as `trace_of` gives it."""

    step: str
    error: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowFailed:
    """A step could not act on one series, which waits; the others do not. trace: as `trace_of` gives it."""

    step: str
    series: str
    error: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ThreadFailed:
    """Something was raised where nobody catches it. trace: as `trace_of` gives it."""

    thread: str
    error: str
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LibraryComplained:
    """A library logged or warned; where, and the class of what it met. Its words may quote a data set."""

    level: str
    place: str
    error: str = ""
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HungUp:
    """SIGHUP came; whether the log file was opened again."""

    reopened: bool


def quiet_libraries() -> None:
    """Keep the DICOM libraries from logging and warning: what they complain of they quote, names too."""
    for name in ("pydicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")


def described(error: BaseException) -> str:
    """One line about an error: the text of ours and the system's, else class and place alone.

    What a library says of a data set it quotes, and a patient's name with it.
    """
    if isinstance(error, LumbarError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if isinstance(error, sqlite3.Error):
        return f"{name}: {error}"
    frames = trace_of(error)
    return f"{name} in {frames[-1]}" if frames else name


def trace_of(error: BaseException) -> tuple[str, ...]:
    """Where an error came from, outermost first, as "module.py:line function"; no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return tuple(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)


SAME_S: Final = 60.0
"""What comes again within this time is the same matter: it is logged when it begins, not while it lasts."""


@dataclass(slots=True)
class Seldom:
    """Says of a fault or complaint whether it is a new one, or again after it had ceased."""

    monotonic: Callable[[], float] = time.monotonic
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, what: str) -> bool:
        """Whether to log it."""
        now = self.monotonic()
        new = now - self.last.get(what, -math.inf) > SAME_S
        self.last[what] = now
        return new


def unheard(_: object) -> None:
    """Take an event and do nothing: for steps that run without a log."""


class EventLog:
    """Writes events as lines: JSON, or for people when the stream is a terminal."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        import structlog  # noqa: PLC0415 - a third of a short command's time; commands write no log

        out = stream or sys.stderr
        renderer: Any = (
            structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer()
        )
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(out),
            processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), renderer],
            node=name,
        )

    def event(self, event: object) -> None:
        """Write one event."""
        if not is_dataclass(event) or isinstance(event, type):
            raise TypeError("events are dataclass instances")
        self._write(type(event).__name__, asdict(event))

    def relay(self, told: Mapping[str, Any]) -> None:
        """Write an event of another process, as that one put it."""
        rest = {k: v for k, v in told.items() if k not in {"event", "timestamp"}}
        self._write(str(told["event"]), rest)

    def _write(self, name: str, fields: Mapping[str, Any]) -> None:
        # A terminal that was closed, a full disk: a line that cannot be written stops nothing.
        with suppress(OSError, ValueError):
            self._log.msg(name, **fields)
