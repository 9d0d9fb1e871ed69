"""`Dispatcher`: one series at a time to a compute engine, with a deadline of our own."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomseg.result import ModelError
from dicomseg.segmentation import EngineInfo, NotInView, Segmentation
from dicomseg.volume import Volume
from node.cluster.port import Answer, Away, Capacity, ComputeEngine, Done, Refused, Task
from node.errors import AttemptLost, ClusterAway

POLL_S: Final = 1.0
"""Longest wait for an answer before the deadline is looked at."""
TIMES_MEDIAN: Final = 10.0
FIRST_S: Final = 30.0
"""Added while no series has come back yet: graphs are compiled, memory is taken."""
KEPT: Final = 50
"""Durations that the median is taken of."""
GRACE_S: Final = 5.0
"""Seconds after the limit at which a worker that still computes ends itself."""
TURNS: Final = 2
"""Limits that we wait: the series may stand behind one more on its worker, and has not begun then."""


@dataclass(slots=True)
class Deadlines:
    """The time that a series may take, by those before it. shortest_s: never less."""

    shortest_s: float
    _taken_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, seconds: float) -> None:
        """Count a series that came back."""
        self._taken_s.append(seconds)

    @property
    def limit_s(self) -> float:
        """Seconds that the next one may take."""
        if not self._taken_s:
            return self.shortest_s + FIRST_S
        return max(self.shortest_s, TIMES_MEDIAN * statistics.median(self._taken_s))


@dataclass(slots=True, eq=False)
class Dispatcher:
    """Takes the place of a loaded model: has `info` and `model_errors`, and segments elsewhere.

    name: of this process, unlike that of any other. number: of this process among those of the node, from 1: it may claim while `number` ≤ slots + 1, so that the
    journal is the queue. local: computes where no slot is there; None waits. seen: called with every capacity.
    """

    engine: ComputeEngine
    name: str
    number: int
    deadlines: Deadlines
    model_errors: Mapping[str, ModelError]
    local: ComputeEngine | None = None
    seen: Callable[[Capacity], None] = lambda _: None
    now: Callable[[], float] = time.monotonic
    late: int = 0
    """Answers that came after their attempt was given up, and were dropped."""
    _attempts: int = 0
    _chosen: tuple[ComputeEngine, EngineInfo] | None = None

    @property
    def info(self) -> EngineInfo:
        """The model and engine of the series in work: `may_claim` chooses them before it is claimed."""
        if self._chosen is None:
            raise ClusterAway("no machine was chosen for this series; wait")
        return self._chosen[1]

    def may_claim(self) -> bool:
        """Whether there is room for one more series; chooses where it will be computed."""
        found = self.engine.capacity()
        self.seen(found)
        if found.info is not None and found.slots:
            self._chosen = self.engine, found.info
            return self.number <= found.slots + 1
        if self.local is None or self.number > 1:
            return False
        info = self.local.capacity().info
        self._chosen = None if info is None else (self.local, info)
        return self._chosen is not None

    def segment(self, volume: Volume) -> Segmentation | NotInView:
        """Have a volume segmented; nothing that names a patient or a series leaves this process.

        Raises:
            AttemptLost: its worker ended, or took too long; another attempt may succeed.
            ClusterAway: no machine can be reached, or none had begun; this was no attempt.
            Exception: what the computation raised, as if it had been done here.
        """
        engine, info = self._chosen or (self.engine, self.info)
        self._attempts += 1
        limit_s = self.deadlines.limit_s
        patience_s = TURNS * (limit_s + GRACE_S)
        began = self.now()
        engine.submit(Task(self.name, self._attempts, volume, info, limit_s + GRACE_S))
        while True:
            answer = self._answer(engine)
            if answer is not None:
                break
            if engine is self.engine and self.now() - began > patience_s:
                left = engine.abandon(self.name, self._attempts)
                host = left.host or "a worker of the cluster"
                if not left.begun:
                    raise ClusterAway(f"{host} had other work for {patience_s:.0f} s")
                raise AttemptLost(f"{host} had no answer within {patience_s:.0f} s")
        if isinstance(answer, Done):
            return self._checked(answer, info, self.now() - began)
        if isinstance(answer, Refused):
            raise answer.error
        if isinstance(answer, Away):
            raise ClusterAway(answer.why)
        raise AttemptLost(answer.why)

    def close(self) -> None:
        """Let the machines go."""
        self.engine.close()

    def _answer(self, engine: ComputeEngine) -> Answer | None:
        """Return the answer to this attempt; others are late, or doubled, and dropped."""
        mine: Answer | None = None
        for answer in engine.poll(POLL_S):
            if mine is None and (answer.key, answer.attempt) == (self.name, self._attempts):
                mine = answer
            else:
                self.late += 1
        return mine

    def _checked(self, answer: Done, info: EngineInfo, taken_s: float) -> Segmentation | NotInView:
        found = answer.found
        if isinstance(found, Segmentation) and found.engine != info:
            raise AttemptLost(
                f"{answer.host} computed with {found.engine.version} on {found.engine.engine}, not what was asked for"
            )
        self.deadlines.add(taken_s)
        return found
