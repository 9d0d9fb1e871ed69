"""The composition root and the life of `serve`: builds every step from the configuration, runs, stops.

Threads: listener and associations (receive), track with selection, one per destination (deliver),
watch over the worker processes. Each step reads rows in its state and acts; a kill of any of them, or
of all, is the same as a restart.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from node.clock import Clock
from node.config.destinations import DicomDestination
from node.config.sections import Config
from node.event_log import EventLog
from node.events import CallersUnrestricted, HungUp, NodeStarted, NodeStopped
from node.journal.file import refusal
from node.journal.journal import Journal
from node.library_log import LogFile, catch_all
from node.models.retraining import JobRunner
from node.models.schedule import Schedule
from node.program import program_version
from node.receive.admission import MB, is_open
from node.receive.commitment import Archive
from node.receive.recover import adopt
from node.receive.step import ReceiveStep, free_bytes
from node.sandbox.headers import HeaderReader
from node.service.activation import given_listener
from node.service.auditing import Auditing
from node.service.console import ConsoleStep
from node.service.loop import TICK_S, Loop
from node.service.monitoring import Description, Monitoring
from node.service.notify import STOPPING, Notifier
from node.service.steps import WORK, Steps, rounds_of
from node.service.watch import Watch
from node.store.layout import StateDirectory
from node.store.lock import PRIVATE, Holder, locked
from node.store.spool import Spool
from node.tls.credentials import Credentials, roles
from node.work.claims import return_claim
from node.work.step import WorkStep

STOP_S: Final = 20.0
"""Time that open associations and the series in work get to end."""


@dataclass(slots=True)
class Node:
    """The running service.

    listener: the socket that a service manager handed over; None: the node opens its own.
    """

    config: Config
    config_path: Path | None
    log: EventLog
    clock: Clock = field(default_factory=Clock)
    log_file: LogFile = field(default_factory=lambda: LogFile(None))
    hung_up: threading.Event = field(default_factory=threading.Event)
    notifier: Notifier = field(default_factory=Notifier)
    listener: socket.socket | None = None
    headers: HeaderReader = field(default_factory=HeaderReader)
    credentials: Credentials = field(init=False)
    console: ConsoleStep = field(init=False)

    def __post_init__(self) -> None:
        self.credentials = Credentials(self.config.tls, self.log.event)
        self.console = ConsoleStep(self.config.web, self.config_path, self.clock, self.log)

    def serve(
        self, stopping: threading.Event, ready: Callable[[int], None] = lambda _: None
    ) -> int:
        """Run until `stopping` is set, then stop in order. `ready` hears the port once it listens.

        Returns 0, or the exit code of a worker that refused to start (6: model or bundle).

        Raises:
            AlreadyRunning, StateRefused, JournalTooNew, PortBusy, TlsError: before anything was received.
            JournalDamaged: at the start, or when a step met a broken page.
        """
        node = self.config.node
        with locked(node.state) as lock, self.headers, self.console:
            holder = Holder(os.getpid(), self.clock.wall(), program_version())
            description = Description(lock, holder, self.clock)
            description.update()
            with self.notifier.long_start(f"checking the files of {node.state}"):
                spool, journal = self._resumed(node.state)
            workers = WorkStep.of(self.config_path, self.config.work, journal, self.clock, self.log)
            jobs = self._job_runner(journal)
            audit = Auditing.of(self.config, journal, self.clock, self.log, self.credentials)
            receiver = self._receiver(spool, journal)
            loops = self._steps(journal).loops(workers, jobs, audit, receiver, stopping)
            port = receiver.start()
            description.update(port=port)
            rounds = rounds_of(receiver, loops)
            monitoring = Monitoring(
                self.config, journal, workers, rounds, self.log, self.credentials, port=port
            )
            threads, end_schedule, end_monitoring = list[threading.Thread](), _nothing, _nothing
            try:
                self._log_start(port)
                ready(port)
                threads = [loop.start() for loop in loops]
                end_monitoring = monitoring.start()
                end_schedule = self._schedule(journal)
                watch = Watch(
                    f"{node.host}:{port}", workers, rounds, self.notifier,
                    self.log.event, self.clock, description.ready,
                )  # fmt: skip
                report = partial(description.report, monitoring.health)
                code = self._until_the_end(watch, report, stopping)
                self._end_on_damage(loops)
                return code
            finally:
                self.notifier.tell(STOPPING, "STATUS=ending associations and the series in work")
                stopping.set()
                end_schedule()
                end_monitoring()
                left = _stop(receiver, workers, threads)
                jobs.stop()
                audit.close()
                self.log.event(NodeStopped(left))
                journal.close()

    def _resumed(self, state: Path) -> tuple[Spool, Journal]:
        """Open spool and journal, give files without a row theirs, and return the claims of an earlier life."""
        spool = Spool(state)
        journal = Journal.open(StateDirectory(state).journal, self.clock.wall)
        self.log.event(adopt(spool, journal))
        for row in journal.series.claims():  # of an earlier life: the lock is ours
            return_claim(journal, row, "the node was restarted")
        return spool, journal

    def _steps(self, journal: Journal) -> Steps:
        return Steps(
            self.config,
            journal,
            self.log,
            self.clock,
            self.credentials,
            self.headers,
            self.config_path,
            self.console,
        )

    def _log_start(self, port: int) -> None:
        node = self.config.node
        self.log.event(NodeStarted(node.ae_title, node.host, port, str(node.state)))
        if is_open(self.config.receive, node.host):
            self.log.event(CallersUnrestricted(node.host, port))

    def _receiver(self, spool: Spool, journal: Journal) -> ReceiveStep:
        node = self.config.node
        self.credentials.prepare(roles(self.config))
        return ReceiveStep(
            self.config.receive, node.ae_title, node.host, node.port, spool, journal,
            self.log.event, lambda: free_bytes(node.state), self.listener,
            archives=[Archive(d.name, d.ae_title, d.host) for d in self.config.destinations if isinstance(d, DicomDestination)],
            credentials=self.credentials,
        )  # fmt: skip

    def _end_on_damage(self, loops: Sequence[Loop]) -> None:
        """Raise `JournalDamaged` when a step met a broken journal: nothing more may be acknowledged."""
        for damage in (loop.damage for loop in loops):
            if damage is not None:
                raise refusal(StateDirectory(self.config.node.state).journal, damage)

    def _job_runner(self, journal: Journal) -> JobRunner:
        """Build the runner of retrainings, which leaves the reception its disk space."""
        node, model = self.config.node, self.config.model
        return JobRunner(
            node.state, journal, Path(model.bundle) if model.bundle else None,
            lambda: free_bytes(node.state), self.config.receive.disk_low_mb * MB, self.clock, self.log.event,
        )  # fmt: skip

    def _schedule(self, journal: Journal) -> Callable[[], None]:
        """Start the schedule where one is configured; returns a stop function."""
        config = self.config.training.schedule
        if not config.cron:
            return _nothing
        return Schedule(config, journal, self.clock.wall, self.log.event).start()

    def _until_the_end(
        self, watch: Watch, report: Callable[[], None], stopping: threading.Event
    ) -> int:
        """Watch and report until `stopping` is set; returns 0, or the exit code of a worker that refused at first."""
        while not stopping.wait(TICK_S):
            if self.hung_up.is_set():
                self._hung_up()
            refused = watch.look()
            if refused:
                return refused
            report()
        return 0

    def _hung_up(self) -> None:
        """Open the log file and read certificates again; a terminal that went away is no reason to end."""
        self.hung_up.clear()
        self.log.event(HungUp(self.log_file.reopen()))
        self.credentials.reread()


def _nothing() -> None:
    """Do nothing."""


def _stop(receiver: ReceiveStep, workers: WorkStep, threads: list[threading.Thread]) -> int:
    """Let open associations and series in work end, side by side; returns associations cut off."""
    ends_at = time.monotonic() + STOP_S
    with ThreadPoolExecutor(2, "stop") as pool:
        left = pool.submit(receiver.stop, STOP_S)
        # The loop that starts workers has ended before they are stopped.
        for thread in threads:
            if thread.name == WORK:
                thread.join()
        pool.submit(workers.stop, STOP_S)
        for thread in threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
    return left.result()


def serve(config: Config, config_path: Path | None) -> int:
    """Run the service until SIGTERM or Ctrl-C; returns the exit code, 0 after the ordered stop."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    os.umask(PRIVATE)
    log = EventLog(config.node.name)
    catch_all(log)
    node = Node(
        config, config_path, log, log_file=LogFile.of_process(),
        notifier=Notifier.of(os.environ), listener=given_listener(os.environ),
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda *_: node.hung_up.set())
    return node.serve(stopping)
