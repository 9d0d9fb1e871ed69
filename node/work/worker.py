"""The worker process: loads the model once, then claim → process → publish, one series after another.

A kill at any line is safe: the result folder is published atomically, result and deliveries are
one transaction, and the same input finds the folder that is already there.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from dicomseg.encode.uids import ResultKey
from dicomseg.errors import LumbarError
from dicomseg.segmentation import NotInView
from node.backoff import wait_s
from node.clock import Clock
from node.cluster.dispatch import Dispatcher
from node.config.file import read_config
from node.config.sections import Config
from node.durable import private_folder
from node.errors import AttemptLost, ClaimLost, ClusterAway, DrawingFailed, IllegalTransition
from node.event_log import EventLog, Seldom
from node.events import DeliverySuperseded, Log, ModelChanged, RowFailed, SeriesEnded, StepFailed
from node.faults import describe_error, error_trace
from node.journal.file import JournalBusy
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesRow
from node.journal.states import SeriesEvent, SeriesState
from node.library_log import catch_all
from node.step import LONGEST_WAIT_S
from node.store.layout import StateDirectory
from node.work.claims import lost_before, release_claim, return_claim
from node.work.companion import Companion
from node.work.drawing import Artist
from node.work.heartbeat import Heartbeat
from node.work.input import grid_of
from node.work.machines import computing
from node.work.pipeline import Computing, build_settings
from node.work.results import Results
from node.work.warm import try_out
from node.work.worker_process import READY

POLL_S: Final = 0.1
"""How soon a selected series is seen."""
FAULT_WAIT_S: Final = 5.0
"""First wait after a fault of the machine (disk full, journal held by another program)."""

Ending = Callable[[], object]
"""What writes the end of a series into the journal."""


@dataclass(frozen=True, slots=True, eq=False)
class Worker:
    """One worker with its model; `token` starts every claim's token.

    artist: draws page and surfaces; None: the worker itself does.
    promotion: the journal's newest row about the bundle in service when the model was loaded, 0 none.
    faults: how often in a row the machine kept a series, by its id, from its result.
    """

    config: Config
    journal: Journal
    model: Computing
    token: str
    log: Log
    artist: Artist | None = None
    promotion: int = 0
    faults: dict[int, int] = field(default_factory=dict)
    is_new: Seldom = field(default_factory=Seldom)

    def run(self, stopping: threading.Event) -> None:
        """Work on selected series until asked to stop; a series that was begun is finished.

        It also ends, between two series, when another bundle was put into service: the supervisor
        starts it again, and the new process loads that one.
        """
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                if not self._up_to_date():
                    return
                row = self._claim(f"{self.token}/{number}")
            except JournalBusy as error:
                self._machine_fault(error)
                stopping.wait(FAULT_WAIT_S)
                continue
            if row is None:
                stopping.wait(POLL_S)
            else:
                self.work_on(row, stopping)

    def _up_to_date(self) -> bool:
        newest = self.journal.promotions.newest()
        if newest is None or newest.id == self.promotion:
            return True
        self.log(ModelChanged(newest.version, newest.digest))
        return False

    def _claim(self, token: str) -> SeriesRow | None:
        if isinstance(self.model, Dispatcher) and not self.model.may_claim():
            return None
        # Reading first: a claim takes the journal's write lock, ten times a second for nothing.
        if not self.journal.series.due(SeriesState.SELECTED):
            return None
        return self.journal.series.claim(token)

    def work_on(self, row: SeriesRow, stopping: threading.Event) -> None:
        """Take one claimed series to *encoded*, *skipped* or *failed*, or put it off.

        The claim stays alive until the journal has the answer, also while another program holds it.
        """
        with Heartbeat(self.journal, row.key, row.token or "", self.config.work.heartbeat_seconds):
            ending = self._work_to_its_end(row)
            while not self._has_ended(ending):
                if stopping.wait(FAULT_WAIT_S):
                    return  # the supervisor hands the claim back

    def _work_to_its_end(self, row: SeriesRow) -> Ending:
        """Do the work; what is left to do is to write its end into the journal."""
        try:
            answer = self._find_or_make(row)
        except Exception as error:  # noqa: BLE001 - one series must not end the service
            return self._ending_after(row, error)
        self.faults.pop(row.id, None)
        if isinstance(answer, NotInView):
            return partial(self._end, row, SeriesEvent.NOT_IN_VIEW, answer.reason)
        return partial(self._publish, row, answer)

    def _publish(self, row: SeriesRow, result: ResultRow) -> None:
        names = [d.name for d in self.config.destinations]
        old = self.journal.results.publish(row.key, row.token or "", result, names)
        for destination, replaced in old:
            self.log(DeliverySuperseded(destination, replaced))

    def _ending_after(self, row: SeriesRow, error: Exception) -> Ending:
        if isinstance(error, (ClaimLost, IllegalTransition)):
            return partial(self.log, StepFailed("work", str(error)))
        if isinstance(error, AttemptLost):
            return partial(self._give_up_attempt, row, error)
        if isinstance(error, (OSError, JournalBusy, ClusterAway)):
            return partial(self._put_off, row, error)
        if isinstance(error, LumbarError):
            return partial(self._end, row, SeriesEvent.REFUSED, str(error), error.code)
        if isinstance(error, MemoryError):
            attempts = self.config.work.max_attempts
            return partial(release_claim, self.journal, row, attempts, "not enough memory")
        self.log(RowFailed("work", row.key.series, describe_error(error), error_trace(error)))
        reason = f"unexpected {type(error).__name__}; see the log"
        return partial(self._end, row, SeriesEvent.REFUSED, reason, "unexpected")

    def _give_up_attempt(self, row: SeriesRow, error: AttemptLost) -> None:
        """Give the series to another attempt; after the last one it fails with every host that had it."""
        most, why = self.config.work.max_attempts, str(error)
        self.log(StepFailed("cluster", why))
        if row.attempts >= most:
            why = "; ".join((*lost_before(self.journal, row), why))
        release_claim(self.journal, row, most, why)

    def _has_ended(self, ending: Ending) -> bool:
        """Write the end of a series; False when the journal cannot be written now."""
        try:
            ending()
        except (ClaimLost, IllegalTransition) as error:
            self.log(StepFailed("work", str(error)))
        except (OSError, JournalBusy) as error:
            self._machine_fault(error)
            return False
        return True

    def _end(self, row: SeriesRow, event: SeriesEvent, reason: str, code: str = "") -> None:
        detail: dict[str, object] = {"reason": reason, **({"code": code} if code else {})}
        state = self.journal.series.advance(row.key, event, expect=row.token, detail=detail)
        seconds = round(Clock().since(row.last_at), 2)
        self.log(SeriesEnded(row.key.series, state, reason, seconds))

    def _put_off(self, row: SeriesRow, error: Exception) -> None:
        """Hand a series back that the machine kept from its result; it is tried again, ever later."""
        tries = self.faults.get(row.id, 0) + 1
        reason = describe_error(error)
        if return_claim(self.journal, row, reason):
            self.faults[row.id] = tries
            until = time.time() + wait_s(tries, FAULT_WAIT_S, LONGEST_WAIT_S)
            self.journal.series.defer(row.key, "work", reason, until)
        self._machine_fault(error)

    def _machine_fault(self, error: Exception) -> None:
        reason = describe_error(error)
        if self.is_new(reason):
            self.log(StepFailed("work", reason, error_trace(error)))

    def _find_or_make(self, row: SeriesRow) -> ResultRow | NotInView:
        """Find the result folder of this input, or make it. Raises `InputRefused`."""
        grid = grid_of(self.journal, row.key, self.config.rules, self.log)
        published = self.journal.results.of_series(row.key)
        earlier = [*self.journal.results.corrected_into(row.key), *published]
        settings = build_settings(self.config.node, self.config.results)
        root = StateDirectory(self.config.node.state).results
        result = Results(self.model, settings, root, _now, self.artist).find_or_make(
            grid,
            [ResultKey(r.result_id) for r in earlier],
            forced=row.forced > max((r.attempt for r in published), default=0),
        )
        if isinstance(result, NotInView):
            return result
        if result.fault is not None:
            self._tell_of_drawing(row, result.fault)
        return ResultRow(result.key.result_id, result.path, self.model.info.digest, row.forced)

    def _tell_of_drawing(self, row: SeriesRow, error: Exception) -> None:
        trace = error.trace if isinstance(error, DrawingFailed) else error_trace(error)
        self.log(RowFailed("draw", row.key.series, describe_error(error), trace))


def _now() -> datetime:
    return datetime.now().astimezone()


def _end_with_parent() -> None:
    """End this process when standard input does: the supervisor is gone, and its claims with it."""
    # Not sys.stdin: its lock, held here, would abort the interpreter's own end.
    while os.read(0, 1):
        pass
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m node.work.worker`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m node.work.worker", description=__doc__)
    parser.add_argument("--config", type=Path, help="absent: variables of the environment alone")
    parser.add_argument("--token", required=True, help="start of the claims' tokens, unique")
    options = parser.parse_args(arguments)
    catch_all(EventLog("worker"))
    faulthandler.enable()  # a crash in native code says where it was called: places, no values
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the log is the supervisor's
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        worker = prepared(read_config(options.config), options.token)
    except LumbarError as error:
        sys.stderr.write(f"worker: {error}\n")
        return error.exit_code
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    worker.run(stopping)
    for part in (worker.artist, worker.model):
        if isinstance(part, Companion | Dispatcher):
            part.close()
    worker.journal.close()
    return 0


def prepared(config: Config, token: str) -> Worker:
    """Open the journal, load the bundle in service and warm it. Raises `BundleError`, `EngineError`."""
    state = StateDirectory(config.node.state)
    journal = Journal.writing(state.journal, time.time)
    log = EventLog(config.node.name).event
    companion = _companion(config) if config.results.pictures else None
    newest = (
        journal.promotions.newest()
    )  # before the folder: a change after this line is seen by `run`
    chosen = journal.promotions.folder_in_service(None)
    model = computing(config, chosen, token, log)
    try:
        try_out(build_settings(config.node, config.results), companion)
    except Exception as error:  # noqa: BLE001 - the first series would be slower, no more
        log(StepFailed("warm up", describe_error(error), error_trace(error)))
    promotion = 0 if newest is None else newest.id
    return Worker(config, journal, model, token, log, companion, promotion)


def _companion(config: Config) -> Companion:
    """Start the process that draws; it comes up while the model is loaded."""
    fonts = StateDirectory(config.node.state).fonts
    private_folder(fonts)
    os.environ.setdefault("MPLCONFIGDIR", str(fonts))
    companion = Companion(config.work.time_limit_seconds / 3)
    companion.start()
    return companion


if __name__ == "__main__":
    sys.exit(main())
