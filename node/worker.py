"""The worker process: loads the model once, then claim → process → publish, one series after another.

A kill at any line is safe: the result folder appears whole or not at all, result and deliveries are
one transaction, and the same input finds the folder that is already there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from dicomseg import headers
from dicomseg.errors import LumbarError, SeriesRefused
from dicomseg.identity import ResultKey
from dicomseg.segmentation import NotInView
from dicomseg.series import Gaps, Grid, too_small
from model.bundle import LoadedModel
from model.window import PAPER_SHAPE
from node import config as configuration
from node import folder
from node.config import Config
from node.errors import ClaimLost, IllegalTransition
from node.events import EventLog, ModelChanged, SeriesEnded, StepFailed, quiet_libraries
from node.journal import Journal
from node.pipeline import key_of, load_model, process_series, settings_after, settings_of
from node.records import ResultRow, SeriesRow
from node.selection import candidate
from node.states import SeriesEvent, SeriesState
from node.work import READY, Heartbeat, give_back

POLL_S: Final = 0.1
"""How soon a selected series is seen."""

FAULT_WAIT_S: Final = 5.0
"""Wait after a fault of the machine (disk full), so that its attempts are not used up in a second."""

RESULTS: Final = "results"
JOURNAL: Final = "journal.sqlite"


@dataclass(frozen=True, slots=True, eq=False)
class Worker:
    """One worker with its model; `token` starts every claim's token.

    promotion: the journal's newest row about the bundle in service when the model was loaded, 0 none.
    """

    config: Config
    journal: Journal
    model: LoadedModel
    token: str
    log: EventLog
    promotion: int = 0

    def run(self, stopping: threading.Event) -> None:
        """Work on selected series until asked to stop; a series that was begun is finished.

        It also ends, between two series, when another bundle was put into service: the supervisor
        starts it again, and the new process loads that one.
        """
        number = 0
        while not stopping.is_set() and self._up_to_date():
            number += 1
            row = self._claim(f"{self.token}/{number}")
            if row is None:
                stopping.wait(POLL_S)
            else:
                self.work_on(row, stopping)

    def _up_to_date(self) -> bool:
        newest = self.journal.promotion()
        if newest is None or newest.id == self.promotion:
            return True
        self.log.event(ModelChanged(newest.version, newest.digest))
        return False

    def _claim(self, token: str) -> SeriesRow | None:
        # Reading first: a claim takes the journal's write lock, ten times a second for nothing.
        if not self.journal.series_due(SeriesState.SELECTED):
            return None
        return self.journal.claim(token)

    def work_on(self, row: SeriesRow, stopping: threading.Event) -> None:
        """Take one claimed series to *encoded*, *skipped* or *failed*."""
        token = row.token or ""
        try:
            with Heartbeat(self.journal, row.key, token, self.config.work.heartbeat_seconds):
                answer = self._result_of(row)
            if isinstance(answer, NotInView):
                detail: dict[str, object] = {"reason": answer.reason}
                self.journal.advance(row.key, SeriesEvent.NOT_IN_VIEW, expect=token, detail=detail)
                self._ended(row, SeriesState.SKIPPED, answer.reason)
            else:
                names = [d.name for d in self.config.destinations]
                self.journal.publish(row.key, token, answer, names)
        except (ClaimLost, IllegalTransition) as error:
            self.log.event(StepFailed("work", str(error)))
        except LumbarError as error:
            self._fail(row, str(error), error.code)
        except OSError as error:
            self.log.event(StepFailed("work", traceback.format_exc()))
            stopping.wait(FAULT_WAIT_S)
            why = f"{error.filename}: {error.strerror}"
            give_back(self.journal, row, self.config.work.max_attempts, why)
        except Exception as error:  # noqa: BLE001 - one series must not end the service
            self.log.event(StepFailed("work", traceback.format_exc()))
            self._fail(row, f"unexpected {type(error).__name__}; see the log", "unexpected")

    def _fail(self, row: SeriesRow, reason: str, code: str) -> None:
        detail: dict[str, object] = {"reason": reason, "code": code}
        try:
            self.journal.advance(row.key, SeriesEvent.REFUSED, expect=row.token, detail=detail)
            self._ended(row, SeriesState.FAILED, reason)
        except (ClaimLost, IllegalTransition) as error:
            self.log.event(StepFailed("work", str(error)))

    def _ended(self, row: SeriesRow, state: SeriesState, reason: str) -> None:
        seconds = round(time.time() - row.last_at, 2)
        self.log.event(SeriesEnded(row.key.series, state, reason, seconds))

    def _result_of(self, row: SeriesRow) -> ResultRow | NotInView:
        """Find the result folder of this input, or make it. Raises `InputRefused`."""
        grid = self._grid(row)
        published = self.journal.results_of(row.key)
        settings = settings_after(
            grid,
            self.model.info,
            settings_of(self.config.node, self.config.results),
            [ResultKey(r.result_id) for r in published],
            forced=row.forced > max((r.attempt for r in published), default=0),
        )
        key = key_of(grid, self.model.info, settings)
        results = self.config.node.state / RESULTS
        place = results / key.result_id
        if not place.exists():
            processed = process_series(grid, self.model, settings, _now)
            if isinstance(processed, NotInView):
                return processed
            place = folder.publish(results, key.result_id, processed.files)
        return ResultRow(key.result_id, place, self.model.info.digest, row.forced)

    def _grid(self, row: SeriesRow) -> Grid:
        instances = [headers.read(i.path) for i in self.journal.instances_of(row.key)]
        grid = candidate(row.key.series, instances, self.config.rules).grid
        if isinstance(grid, Gaps):
            raise SeriesRefused(grid.text)
        small = too_small(grid)
        if small is not None:
            raise SeriesRefused(small)
        return grid


def _now() -> datetime:
    return datetime.now().astimezone()


def _end_with_parent() -> None:
    """End this process when standard input does: the supervisor is gone, and its claims with it."""
    # Not sys.stdin: its lock, held here, would abort the interpreter's own end.
    while os.read(0, 1):
        pass
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m node.worker`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m node.worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--token", required=True, help="start of the claims' tokens, unique")
    given = parser.parse_args(arguments)
    quiet_libraries()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        worker = prepared(configuration.load(given.config), given.token)
    except LumbarError as error:
        sys.stderr.write(f"worker: {error}\n")
        return error.exit_code
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    worker.run(stopping)
    worker.journal.close()
    return 0


def prepared(config: Config, token: str) -> Worker:
    """Open the journal, load the bundle in service and warm it. Raises `BundleError`, `EngineError`."""
    journal = Journal.writing(config.node.state / JOURNAL, time.time)
    log = EventLog(config.node.name)
    newest = journal.promotion()  # before the folder: a change after this line is seen by `run`
    chosen = journal.folder_in_service(None)
    model = load_model(config.model, state=config.node.state, path=chosen)
    model.engine.warm(PAPER_SHAPE)
    if model.roots is not None:
        model.roots.warm()
    if model.note:
        log.event(StepFailed("engine", model.note))
    return Worker(config, journal, model, token, log, 0 if newest is None else newest.id)


if __name__ == "__main__":
    sys.exit(main())
