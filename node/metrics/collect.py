"""Gather every value of one scrape: gauges from journal and machine, counters from tally and stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.read.judge import BEGINNINGS
from node.journal.figures import Figures, SenderFigures
from node.journal.states import InstanceState, SeriesState
from node.metrics import catalogue as c
from node.metrics.exposition import Metric, Values, render
from node.metrics.process import process_figures
from node.metrics.stages import Stages
from node.metrics.tally import OTHER, Names, Tally
from node.observe.health import Health
from node.observe.text import state_text
from node.store.selftest_history import SelftestRow

FRESH_S: Final = 1.0
"""A scrape within this time gets the text of the one before: many clients cost no more than one."""

_QUEUES: Final = {"receiving": "track", "complete": "select", "selected": "work", "processing": "work"}  # fmt: skip
"""The step that acts on the series of a state; what is being processed is the work step's too."""
_SKIPS: Final = frozenset(text for pair in BEGINNINGS.values() for text in pair)
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Sources:
    """What a scrape asks besides the journal; each is cheap, and read at every scrape.

    model: name, version, digest. memory: bytes of each worker with the process that draws. sizes: bytes
    of the result folders, None while they are not known. attention: number of matters by kind. alarms:
    skipped series by (sender, station). certificates: end by key of `[tls]`, in seconds since 1970. selftest: its last run, None without one.
    """

    health: Callable[[], Health]
    version: str
    model: Callable[[], tuple[str, str, str]]
    memory: Callable[[], Mapping[str, float]]
    sizes: Callable[[], int | None]
    attention: Callable[[], Mapping[str, int]]
    alarms: Callable[[], Mapping[tuple[str, str], int]]
    certificates: Callable[[], Mapping[str, float]]
    selftest: Callable[[], SelftestRow | None]
    journal: Path
    disk_high_mb: int
    destinations: tuple[str, ...]


@dataclass(slots=True)
class Collector:
    """Makes the text of a scrape; of several threads one gathers, and the others get its text."""

    figures: Figures
    tally: Tally
    stages: Stages
    sources: Sources
    wall: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _senders: Names = field(default_factory=Names)
    _text: str = ""
    _made_at: float = -FRESH_S
    _cost_s: float = 0.0

    def text(self) -> str:
        """Return every metric in the Prometheus text format."""
        with self._lock:
            if time.monotonic() - self._made_at >= FRESH_S:
                began = time.thread_time()
                self._text = render(self._gather())
                self._cost_s = time.thread_time() - began
                self._made_at = time.monotonic()
            return self._text

    def _gather(self) -> list[tuple[Metric, Values]]:
        self.stages.look()
        found: dict[Metric, Values] = {
            m: self.tally.values(m) for m in c.METRICS if m.kind == "counter"
        }
        found[c.STAGE] = self.stages.histograms()
        for part in (
            self._received(),
            self._series(),
            self._deliveries(),
            self._node(),
            self._process(),
        ):
            found |= dict(part)
        return [(metric, found.get(metric, {})) for metric in c.METRICS]

    def _received(self) -> Iterator[tuple[Metric, Values]]:
        rows = self.figures.senders()
        newest: dict[tuple[str, ...], float] = {}
        for row in rows:
            label = (self._senders(row.sender),)
            newest[label] = max(newest.get(label, 0.0), row.last_at)
        yield c.SENDER_LAST, newest
        yield c.OBJECTS, _summed(rows, lambda r: r.objects)
        kept = [r for r in rows if r.state != InstanceState.PURGED]
        yield c.OBJECT_BYTES, _summed(kept, lambda r: r.bytes)
        yield c.PULLS, {key: float(number) for key, number in self.figures.pulls().items()}
        yield c.CORRECTIONS, {k: float(n) for k, n in self.figures.corrections().items()}

    def _series(self) -> Iterator[tuple[Metric, Values]]:
        now, counts = self.wall(), dict[tuple[str, ...], float]()
        rows = [r for r in self.figures.series() if r[0] != SeriesState.FAILED]
        rows += [(SeriesState.FAILED, code, n) for code, n in self.figures.failure_codes().items()]
        for state, head, number in rows:
            key = (state, reason_class(state, head))
            counts[key] = counts.get(key, 0) + number
        yield c.SERIES, counts
        queues = self.figures.queues()
        length: dict[tuple[str, ...], float] = {(step,): 0.0 for step in _QUEUES.values()}
        oldest = dict(length)
        for state, (number, at) in queues.items():
            step = (_QUEUES[state],)
            length[step] += number
            oldest[step] = max(oldest[step], now - at)
        yield c.QUEUE_LENGTH, length
        yield c.QUEUE_OLDEST, oldest
        yield c.FAULTS_OPEN, {(step,): n for step, n in self.figures.deferred().items()}

    def _deliveries(self) -> Iterator[tuple[Metric, Values]]:
        rows = self.figures.deliveries()
        yield c.DELIVERIES, {(r.destination, r.kind, state_text(r.state)): r.number for r in rows}
        now, oldest = self.wall(), self.figures.oldest_open()
        names = (*self.sources.destinations, *oldest)
        yield c.DELIVERY_OLDEST, {(n,): max(0.0, now - oldest.get(n, now)) for n in names}
        yield c.LAST_PROOF, {(name,): at for name, at in self.figures.last_proofs().items()}

    def _node(self) -> Iterator[tuple[Metric, Values]]:
        sources, health = self.sources, self.sources.health()
        yield c.INFO, {(sources.version,): 1}
        yield c.MODEL_INFO, {sources.model(): 1}
        yield c.LIVE, {(): int(not health.not_live)}
        yield c.READY, {(): int(not health.problems)}
        seen = health.vitals
        if seen is not None:
            yield c.WORKERS, {(): seen.workers}
            yield c.WORKERS_READY, {(): seen.workers_ready}
            if seen.cluster_slots is not None:
                yield c.CLUSTER_SLOTS, {(): seen.cluster_slots}
            yield c.LOOP_AGE, {(name,): age_s for name, age_s in seen.loops.items()}
            yield c.DISK_FREE, {(): seen.disk_free_mb * _MB}
            yield c.DISK_LOW, {(): seen.disk_low_mb * _MB}
        yield c.CERTIFICATE_ENDS, {(key,): at for key, at in sources.certificates().items()}
        yield c.DISK_HIGH, {(): sources.disk_high_mb * _MB}
        yield c.WORKER_MEMORY, {(name,): round(size) for name, size in sources.memory().items()}
        yield c.JOURNAL_BYTES, {(): _journal_bytes(sources.journal)}
        size = sources.sizes()
        yield c.RESULT_BYTES, {} if size is None else {(): size}
        yield c.ATTENTION, {(kind,): number for kind, number in sources.attention().items()}
        yield (
            c.PROTOCOL_ALARM,
            {(who, where): number for (who, where), number in sources.alarms().items()},
        )
        yield c.SCRAPE_SECONDS, {(): self._cost_s}
        yield from _selftest(sources.selftest())

    def _process(self) -> Iterator[tuple[Metric, Values]]:
        figures = process_figures()
        yield c.PROCESS_MEMORY, {(): figures.memory}
        yield c.PROCESS_CPU, {(): figures.cpu}
        yield c.PROCESS_START, {(): figures.started_at}
        yield c.PROCESS_FILES, {(): figures.files}


def _selftest(row: SelftestRow | None) -> Iterator[tuple[Metric, Values]]:
    if row is None:
        return
    yield c.SELFTEST_LAST, {(): row.at}
    yield c.SELFTEST_PASSED, {(): int(row.outcome == "passed")}
    deviations = {"first_run": row.drift_mm, "truth": row.error_mm}
    yield c.SELFTEST_DEVIATION, {(k,): v / 1000 for k, v in deviations.items() if v is not None}


def reason_class(state: str, head: str) -> str:
    """Return the class of a reason: a failure's code, or the beginning of a sentence that the rules make.

    head: beginning of the reason up to its colon. Bounded: what is not known is "other".
    """
    if state == SeriesState.FAILED:
        return head or OTHER
    if state != SeriesState.SKIPPED:
        return ""
    if head.startswith("duplicate reconstruction"):
        return "duplicate reconstruction"
    return head if head in _SKIPS else OTHER


def _summed(rows: list[SenderFigures], size: Callable[[SenderFigures], int]) -> Values:
    sums: dict[tuple[str, ...], float] = {}
    for row in rows:
        sums[row.state,] = sums.get((row.state,), 0) + size(row)
    return sums


def _journal_bytes(journal: Path) -> int:
    size = 0
    for ending in ("", "-wal"):
        with suppress(OSError):
            size += journal.with_name(journal.name + ending).stat().st_size
    return size
