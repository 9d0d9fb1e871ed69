"""Give folds to workers and take them back; a lost one is given to another worker."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from training.errors import WorkersAway
from training.spread.remote import Job, Made, Raised

POLL_S: Final = 1.0
AWAY_S: Final = 60.0
"""Longest wait for a worker while no fold is trained anywhere."""
GRACE_S: Final = 60.0
"""Seconds behind the deadline in which a worker without progress ends itself."""
LOSSES: Final = 3
"""Workers that a fold may lose; the next one would be lost as well."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Workers that may be used, name by address; the others, each with the reason."""

    usable: Mapping[str, str]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """A fold has no answer: its worker ended. why: with the worker."""

    why: str


@dataclass(frozen=True, slots=True)
class Away:
    """The scheduler is gone, and every fold with it."""

    why: str


Answer = Made | Raised | Lost | Away


class Workers(Protocol):
    """Machines that train folds. No method raises for a fault of theirs: that is an answer."""

    def look(self) -> Seen:
        """Return who is there."""
        ...

    def submit(self, worker: str, job: Job) -> None:
        """Give a fold to a worker, by its address."""
        ...

    def poll(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        """Return what has ended, by the name of its task, at the latest after so many seconds."""
        ...

    def said(self) -> Mapping[str, str]:
        """Return the newest progress by the name of the task."""
        ...

    def abandon(self, name: str) -> None:
        """Give a task up; its worker ends it."""
        ...


@dataclass(slots=True)
class _Flight:
    """A fold on a worker. heard_at: when it last made progress."""

    number: int
    worker: str
    heard_at: float
    text: str = ""


class Home:
    """Trains folds on workers.

    job: makes a fold's job by its number and the name of its task. silent_s: time without progress after which a
    fold is given to another worker. show: called with a fold's number, its worker and its progress; 0 and "" with why a worker is not used.
    """

    def __init__(
        self,
        workers: Workers,
        job: Callable[[int, str], Job],
        silent_s: float,
        show: Callable[[int, str, str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._job, self._silent_s = workers, job, silent_s
        self._show, self._now = show, now
        self._flights: dict[str, _Flight] = {}
        self._waiting: deque[int] = deque()
        self._losses: Counter[int] = Counter()
        self._doubtful: set[str] = set()
        self._shown: set[str] = set()
        self._names: Mapping[str, str] = {}
        self._alone_since: float | None = None

    def train(self, numbers: Sequence[int]) -> Iterator[tuple[int, Made]]:
        """Yield each fold as it ends.

        Raises:
            WorkersAway: there is no worker, the scheduler is gone, or a fold lost too many workers.
            Exception: what a fold raised.
        """
        self._waiting = deque(numbers)
        try:
            while self._waiting or self._flights:
                self._give()
                for name, answer in self._workers.poll(POLL_S):
                    flight = self._flights.pop(name, None)
                    if flight is None:
                        continue  # given up before
                    if isinstance(answer, Made):
                        yield flight.number, answer
                    else:
                        self._ended(flight, answer)
                self._listen()
        finally:
            for name in self._flights:
                self._workers.abandon(name)

    def _give(self) -> None:
        """Give waiting folds to workers that have none."""
        seen = self._workers.look()
        self._names = {**self._names, **seen.usable}
        for why in seen.unused:
            if why not in self._shown:
                self._shown.add(why)
                self._show(0, "", why)
        busy = {f.worker for f in self._flights.values()} | self._doubtful
        for worker in sorted(seen.usable.keys() - busy):
            if self._waiting:
                number = self._waiting.popleft()
                name = f"fold-{number}-{self._losses[number]}"
                job = self._job(number, name)
                self._workers.submit(worker, job)
                self._flights[job.name] = _Flight(number, worker, self._now())
                self._show(number, seen.usable[worker], "sent")
        self._wait_alone(seen)

    def _wait_alone(self, seen: Seen) -> None:
        if self._flights or not self._waiting:
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since = self._now()
        if self._now() - self._alone_since > AWAY_S or (seen.unused and not self._losses):
            why = "; ".join(seen.unused) or "no worker is there; start `lumbar-train worker`"
            raise WorkersAway(why)

    def _ended(self, flight: _Flight, answer: Raised | Lost | Away) -> None:
        if isinstance(answer, Raised):
            raise answer.error
        if isinstance(answer, Away):
            raise WorkersAway(f"{answer.why}; finished folds are kept, the same command continues")
        self._lose(flight, answer.why)

    def _lose(self, flight: _Flight, why: str) -> None:
        number = flight.number
        self._losses[number] += 1
        if self._losses[number] >= LOSSES:
            raise WorkersAway(f"fold {number} lost {LOSSES} workers, the last one: {why}")
        self._show(number, self._names.get(flight.worker, ""), f"{why}; the fold begins again")
        self._waiting.appendleft(number)

    def _listen(self) -> None:
        """Show progress; give up what makes none, and use its worker no more."""
        said = self._workers.said()
        for name, flight in [*self._flights.items()]:
            text = said.get(name, "")
            if text and text != flight.text:
                flight.text, flight.heard_at = text, self._now()
                self._show(flight.number, self._names.get(flight.worker, ""), text)
            elif self._now() - flight.heard_at > self._silent_s + GRACE_S:
                del self._flights[name]
                self._workers.abandon(name)
                self._doubtful.add(flight.worker)
                self._lose(flight, f"no progress for {self._silent_s / 60:.0f} min")
