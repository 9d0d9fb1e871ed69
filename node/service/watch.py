"""Watch over the running service: when every worker is ready, what hangs, and what systemd is to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.clock import Clock
from node.events import Log, NodeReady, StepHangs, WorkerRefused
from node.service.notify import ALIVE, READY, Notifier
from node.work.step import WorkStep

SIGN_S: Final = 10.0
"""How often the rounds are looked at where no watchdog wants it more often."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """A thread that does the same again and again.

    longest_s: time of one round after which it counts as hanging.
    began_at: when its last round began, of the monotonic clock.
    """

    name: str
    longest_s: float
    began_at: Callable[[], float]


@dataclass(slots=True)
class Watch:
    """Looks at workers and threads; each look takes no time.

    where: for people, as "127.0.0.1:104". on_ready: called once, when every worker has its model.
    """

    where: str
    workers: WorkStep
    rounds: Sequence[Rounds]
    notifier: Notifier
    log: Log
    clock: Clock
    on_ready: Callable[[], None]
    is_ready: bool = False
    _looked_at: float | None = None
    _hanging: set[str] = field(default_factory=set)

    def look(self) -> int:
        """Look once; returns 0, or the exit code of a worker that refused before all were ready."""
        if not self.is_ready:
            refused = self._see_start()
            if refused:
                return refused
        self._see_rounds()
        return 0

    def _see_start(self) -> int:
        codes = [p.poll() for p in self.workers.processes]
        refused = next((c for c in codes if c is not None and c > 1), 0)
        if refused:
            self.log(WorkerRefused(refused))
            return refused
        self.is_ready = self.workers.ready
        if self.is_ready:
            self.on_ready()
            self.log(NodeReady(len(self.workers.processes)))
            self.notifier.describe(self._status())
            self.notifier.tell(READY)
        return 0

    def _see_rounds(self) -> None:
        """Give a sign of life while every thread goes round."""
        now = self.clock.monotonic()
        every_s = self.notifier.watchdog_s / 3 or SIGN_S
        since = every_s if self._looked_at is None else now - self._looked_at
        if since < every_s:
            return
        self._looked_at = now
        if since > self.notifier.watchdog_s > 0:
            return  # this process slept as well as its threads: they get a moment first
        taken_s = {r.name: now - r.began_at() for r in self.rounds}
        late = {r.name: taken_s[r.name] for r in self.rounds if taken_s[r.name] > r.longest_s}
        for name in late.keys() - self._hanging:
            self.log(StepHangs(name, round(late[name])))
        self._hanging = set(late)
        self.notifier.describe(self._status())
        if not late:
            self.notifier.tell(ALIVE)

    def _status(self) -> str:
        if self._hanging:
            return f"{self.where}: {', '.join(sorted(self._hanging))} hangs; see the log"
        workers = self.workers.processes
        idle = [p for p in workers if not p.ready]
        if not idle:
            return f"listening on {self.where}, {len(workers)} of {len(workers)} workers ready"
        ended = "; ".join(p.ending for p in idle if p.poll() is not None)
        why = ended or "loading the model"
        ready = len(workers) - len(idle)
        return f"listening on {self.where}, {ready} of {len(workers)} workers ready: {why}"
