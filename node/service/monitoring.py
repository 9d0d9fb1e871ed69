"""What monitoring sees of the running service: its vitals for health, its sources for metrics, its server."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from model.bundle.card import default_path
from node.clock import Clock
from node.config.sections import Config
from node.event_log import EventLog
from node.events import MetricsStarted, StepFailed
from node.faults import describe_error, error_trace
from node.journal.figures import Figures
from node.journal.file import JournalError
from node.journal.journal import Journal
from node.metrics.collect import Collector, Sources
from node.metrics.exposition import CONTENT_TYPE
from node.metrics.login import Login
from node.metrics.server import Answer, MetricsServer
from node.metrics.stages import Stages
from node.metrics.tally import Tally
from node.observe.attention import attention, current_alarms
from node.observe.health import REPORT_S, Health, Vitals, health_json, judge_vitals, report
from node.observe.node_status import model_in_service
from node.observe.selftest import site_matters
from node.program import program_version
from node.receive.admission import MB
from node.receive.step import free_bytes
from node.service.watch import Rounds
from node.store.layout import StateDirectory
from node.store.lock import Holder, StateLock
from node.store.selftest_history import SelftestRow, read_history
from node.store.sizes import ResultSizes
from node.tls.credentials import Credentials
from node.tls.expiry import endings
from node.work.step import WorkStep

SLOW_S: Final = 60.0
"""How long what costs more than a count is kept: matters of attention, sizes of folders, the model."""


@dataclass(slots=True)
class Description:
    """What the lock file says of this process: who it is, and from time to time how it is."""

    lock: StateLock
    holder: Holder
    clock: Clock
    _reported_at: float = -REPORT_S

    def update(self, **changes: Any) -> None:
        """Write it with these changes of the fields of `Holder`."""
        self.holder = replace(self.holder, **changes)
        self.lock.describe(self.holder)

    def ready(self) -> None:
        """Write that every worker has its model, and report at once."""
        self.update(ready_at=self.clock.wall())
        self._reported_at = -REPORT_S

    def report(self, look: Callable[[], Health]) -> None:
        """Write how the service is, when it is time."""
        if self.clock.monotonic() - self._reported_at >= REPORT_S:
            self._reported_at = self.clock.monotonic()
            self.update(health=report(look(), self.clock.wall()))


@dataclass(slots=True)
class Monitoring:
    """The running parts that health and metrics look at; read only."""

    config: Config
    journal: Journal
    workers: WorkStep
    rounds: Sequence[Rounds]
    log: EventLog
    credentials: Credentials
    tally: Tally = field(default_factory=Tally)
    port: int | None = None

    def health(self) -> Health:
        """Look at the service and judge it."""
        return judge_vitals(self._vitals(), self.port)

    def _vitals(self) -> Vitals:
        now, figures, fault, oldest_s = time.monotonic(), Figures(self.journal.database), "", 0.0
        ages = {r.name: round(now - r.began_at(), 2) for r in self.rounds}
        hanging = tuple(r.name for r in self.rounds if ages[r.name] > r.longest_s)
        try:
            opened = figures.oldest_open().values()
            oldest_s = max(0.0, self.journal.database.now() - min(opened)) if opened else 0.0
        except JournalError as error:
            fault = describe_error(error)
        processes = self.workers.processes
        slots = [p.slots for p in processes if p.slots is not None]
        return Vitals(
            ages, hanging, sum(p.ready for p in processes), len(processes),
            free_bytes(self.config.node.state) // MB, self.config.receive.disk_low_mb, fault, oldest_s,
            max(slots, default=None), self.config.cluster.fallback == "wait",
        )  # fmt: skip

    def start(self) -> Callable[[], None]:
        """Serve metrics where a port is configured; returns a stop function. Raises `PortBusy`."""
        wanted = self.config.metrics
        if not wanted.port:
            return lambda: None
        collector = self._collector()
        pages = {
            "/metrics": lambda: Answer(HTTPStatus.OK, CONTENT_TYPE, collector.text()),
            "/health": lambda: _json(self.health(), live=True),
            "/ready": lambda: _json(self.health(), live=False),
        }
        login = Login(wanted.authorization_file) if wanted.authorization_file else None
        tls = partial(self.credentials.context, "server") if wanted.tls else None
        server = MetricsServer((wanted.host, wanted.port), pages, login, self._complain, self.journal.close, tls)  # fmt: skip
        self.log.listen(self.tally.hear)
        server.start()
        self.log.event(MetricsStarted(wanted.host, server.port))
        return server.close

    def _complain(self, error: Exception) -> None:
        self.log.event(StepFailed("metrics", describe_error(error), error_trace(error)))

    def _collector(self) -> Collector:
        figures, state = Figures(self.journal.database), StateDirectory(self.config.node.state)
        sizes = ResultSizes(state.results)
        sources = Sources(
            health=self.health,
            version=program_version(),
            model=_kept(self._model),
            memory=lambda: {p.name: p.resident_mb() * MB for p in self.workers.processes},
            sizes=sizes.look,
            attention=_kept(self._attention),
            alarms=_kept(self._alarms),
            certificates=_kept(self._certificates),
            selftest=_kept(self._selftest),
            journal=state.journal,
            disk_high_mb=self.config.receive.disk_high_mb,
            destinations=tuple(d.name for d in self.config.destinations),
        )
        return Collector(
            figures, self.tally, Stages(figures, self.tally), sources, self.journal.database.now
        )

    def _model(self) -> tuple[str, str, str]:
        found = model_in_service(self.config, self.journal, default_path())
        return found["name"], found["version"], found["digest"]

    def _certificates(self) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for ending in endings(self.config.tls):
            found[ending.key] = min(ending.ends_at, found.get(ending.key, ending.ends_at))
        return found

    def _selftest(self) -> SelftestRow | None:
        rows = read_history(self.config.node.state)
        return rows[-1] if rows else None

    def _alarms(self) -> Mapping[tuple[str, str], int]:
        return {(a.sender, a.station): a.skipped for a in current_alarms(self.journal)}

    def _attention(self) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for matter in (*site_matters(self.config, time.time()), *attention(self.journal)):
            counts[matter.kind] += matter.count
        return counts


def _json(health: Health, *, live: bool) -> Answer:
    problems = health.not_live if live else health.problems
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return Answer(status, "application/json", json.dumps(health_json(health)) + "\n")


def _kept(look: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that looks at most once in `SLOW_S`."""
    known: list[tuple[float, Any]] = []

    def last() -> Any:
        if not known or time.monotonic() - known[0][0] > SLOW_S:
            known[:] = [(time.monotonic(), look())]
        return known[0][1]

    return last
