"""A day of studies through one node: receiving, one central line (the journal), worker slots, delivery.

A study is one eligible series with the rest of its study. It is received, waits until it is complete, waits in
the line, holds a slot, and is delivered. Nothing here knows a measured number: `scaling_times.py` does.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import simpy

DAY_S: Final = 86400.0
ENOUGH: Final = 20_000
MOST_DAYS: Final = 14
Law = Callable[[Random, float], float]
"""Time of one service in seconds, from its median or mean."""
Steps = Generator[simpy.Event, Any, None]


def constant(_random: Random, seconds: float) -> float:
    """Return the time itself."""
    return seconds


def exponential(random: Random, mean_s: float) -> float:
    """Draw from the exponential law with this mean."""
    return random.expovariate(1 / mean_s)


def log_normal(sigma: float) -> Law:
    """Return the log-normal law about a median, with the standard deviation of the logarithm."""
    return lambda random, median_s: median_s * math.exp(random.gauss(0, sigma))


@dataclass(frozen=True, slots=True)
class Service:
    """Seconds of each step of one study; 0 leaves the step out.

    receive_s and deliver_s hold the one receiver and the one sender to a destination; segment_s holds a slot, or
    a slot and a graphics card where there are cards; finish_s (load, measure, draw, encode) holds the slot only.
    """

    receive_s: float
    complete_s: float
    segment_s: float
    finish_s: float
    deliver_s: float
    law: Law = constant

    @property
    def slot_s(self) -> float:
        """Seconds for which a study holds a slot."""
        return self.segment_s + self.finish_s


@dataclass(frozen=True, slots=True)
class Failure:
    """What ends now and then: each worker by itself, or a machine with all its workers.

    every_s: mean time between failures of one; noticed_s: until its study is in the line again; back_s: until
    it takes studies again.
    """

    every_s: float
    noticed_s: float
    back_s: float
    machine: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Machines that compute, the slots of each, and its graphics cards; after `attempts` a study is failed.

    pairs: pairs of cores on which all slots finish their studies, 0 where each slot has its own. With it a card is a
    slot of another machine, on which the networks run.
    """

    machines: int
    slots: int
    cards: int = 0
    failure: Failure | None = None
    attempts: int = 3
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the studies.

    ages_s: from the first object to the last one delivered, by study in the order of arrival, None where it was
    failed; waits_s: in the line, in the order in which slots took them; busy_s: of all slots; lost: claims that
    ended with their worker; busiest: share of the slots' time in the busiest hour.
    """

    ages_s: Sequence[float | None]
    waits_s: Sequence[float]
    busy_s: float
    lost: int
    busiest: float

    @property
    def delivered(self) -> int:
        """Return the number of studies that were delivered."""
        return sum(age is not None for age in self.ages_s)

    def age_s(self, share: float) -> float:
        """Return the age that this share of the studies does not exceed; a failed one is never delivered."""
        ages = sorted(math.inf if age is None else age for age in self.ages_s)
        return ages[min(len(ages) - 1, math.ceil(share * len(ages)) - 1)] if ages else 0.0


def arrivals(per_day: float, hours: Sequence[float], seed: int, days: int = 1) -> list[float]:
    """Draw the times at which studies come: a Poisson stream, thinned to the weights of 24 hours; sorted seconds."""
    random, top, total = Random(seed), max(hours), sum(hours)  # noqa: S311
    rate = per_day * top / total / 3600
    times: list[float] = []
    now = random.expovariate(rate)
    while now < days * DAY_S:
        if random.random() * top < hours[int(now // 3600) % 24]:
            times.append(now)
        now += random.expovariate(rate)
    return times


@dataclass(slots=True, eq=False)
class _Slot:
    """One worker: its process in the simulation, whether it lives, and since when it holds a study."""

    machine: int
    alive: bool = True
    process: simpy.Process | None = None


@dataclass(slots=True, eq=False)
class _Day:
    """State of one run."""

    site: Site
    service: Service
    random: Random
    came: Sequence[float]
    env: simpy.Environment = field(default_factory=simpy.Environment)
    line: simpy.Store = field(init=False)
    cards: list[simpy.Resource] = field(init=False)
    pairs: simpy.Resource | None = field(init=False)
    over: simpy.Event = field(init=False)
    ages_s: list[float | None] = field(init=False)
    tries: dict[int, int] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    hours_s: dict[int, float] = field(default_factory=dict)
    open: int = 0
    sender_free: float = 0.0
    lost: int = 0

    def __post_init__(self) -> None:
        self.line, self.over = simpy.Store(self.env), self.env.event()
        per_machine = self.site.cards
        self.cards = [
            simpy.Resource(self.env, per_machine)
            for _ in range(self.site.machines if per_machine else 0)
        ]
        self.pairs = simpy.Resource(self.env, self.site.pairs) if self.site.pairs else None
        self.ages_s, self.open = [None] * len(self.came), len(self.came)

    def feed(self) -> Steps:
        """Receive one study after the other, and put each into the line when it is complete."""
        ready: list[tuple[float, int]] = []
        free = 0.0
        for number, at in enumerate(self.came):
            free = max(free, at) + self.service.receive_s
            heapq.heappush(ready, (free + self.service.complete_s, number))
        while ready:
            at, number = heapq.heappop(ready)
            yield self.env.timeout(at - self.env.now)
            self.line.put((number, at))

    def work(self, slot: _Slot) -> Steps:
        """Take the oldest study of the line, again and again; after a failure be away for its time."""
        while True:
            taking = self.line.get()
            try:
                number, since = yield taking
            except simpy.Interrupt:
                if taking.triggered:  # handed over at the very moment at which the worker ended
                    self.line.put(taking.value)
                else:
                    taking.cancel()
                yield from self._away(slot)
                continue
            self.waits_s.append(self.env.now - since)
            began = self.env.now
            try:
                yield from self._hold(slot)
            except simpy.Interrupt:
                self._count(began)
                self.env.process(self._give_back(number))
                yield from self._away(slot)
            else:
                self._count(began)
                self._deliver(number)

    def _hold(self, slot: _Slot) -> Steps:
        law, service = self.service.law, self.service
        finish_s = law(self.random, service.finish_s) if service.finish_s else 0.0
        segment_s = law(self.random, service.segment_s) if service.segment_s else 0.0
        if not self.cards:
            yield self.env.timeout(segment_s + finish_s)
            return
        with self.cards[slot.machine].request() as card:
            yield card
            yield self.env.timeout(segment_s)
        if self.pairs is None:
            yield self.env.timeout(finish_s)
            return
        with self.pairs.request() as pair:
            yield pair
            yield self.env.timeout(finish_s)

    def _away(self, slot: _Slot) -> Steps:
        assert self.site.failure is not None  # noqa: S101
        yield self.env.timeout(self.site.failure.back_s)
        slot.alive = True

    def _give_back(self, number: int) -> Steps:
        """Put a study whose worker ended into the line again, at its end as the journal does, or fail it."""
        assert self.site.failure is not None  # noqa: S101
        self.lost += 1
        self.tries[number] = self.tries.get(number, 0) + 1
        yield self.env.timeout(self.site.failure.noticed_s)
        if self.tries[number] < self.site.attempts:
            self.line.put((number, self.env.now))
        else:
            self._close()

    def _deliver(self, number: int) -> None:
        """Deliver in the order of the results; the end is known now, so nothing has to wait for it."""
        self.sender_free = max(self.sender_free, self.env.now) + self.service.deliver_s
        self.ages_s[number] = self.sender_free - self.came[number]
        self._close()

    def _close(self) -> None:
        self.open -= 1
        if not self.open:
            self.over.succeed()

    def _count(self, began: float) -> None:
        hour = int(began // 3600)
        self.hours_s[hour] = self.hours_s.get(hour, 0.0) + self.env.now - began

    def fail(self, slots: Sequence[_Slot], failure: Failure) -> Steps:
        """End these workers together now and then; one that is away already is left."""
        while True:
            yield self.env.timeout(self.random.expovariate(1 / failure.every_s))
            for slot in slots:
                if slot.alive and slot.process is not None:
                    slot.alive = False
                    slot.process.interrupt()


def simulate(came: Sequence[float], site: Site, service: Service, seed: int) -> Outcome:
    """Run the studies that came at these times, sorted seconds, until the last is delivered or failed."""
    day = _Day(site, service, Random(seed), came)  # noqa: S311
    slots = [_Slot(machine) for machine in range(site.machines) for _ in range(site.slots)]
    for slot in slots:
        slot.process = day.env.process(day.work(slot))
    failure = site.failure
    if failure is not None:
        groups = [[s] for s in slots]
        if failure.machine:
            groups = [[s for s in slots if s.machine == m] for m in range(site.machines)]
        for group in groups:
            day.env.process(day.fail(group, failure))
    day.env.process(day.feed())
    if came:
        day.env.run(until=day.over)
    busiest = max(day.hours_s.values(), default=0.0) / 3600 / len(slots)
    return Outcome(day.ages_s, day.waits_s, sum(day.hours_s.values()), day.lost, busiest)


def run_days(
    per_day: float, site: Site, service: Service, hours: Sequence[float], seed: int
) -> Outcome:
    """Simulate 1 to 14 days: as many as give `ENOUGH` studies, so that failures come in busy hours and in others."""
    days = max(1, min(MOST_DAYS, round(ENOUGH / per_day)))
    return simulate(arrivals(per_day, hours, seed, days), site, service, seed)


def most_per_day(
    site: Site, service: Service, hours: Sequence[float], limit_s: float, seed: int
) -> int:
    """Return how many studies a day the site takes with the 99th percentile of the age within the limit.

    Halving between a tenth and 1.3 of what slots or receiving can take in the busiest hour, to 2 %; rounded down to
    two digits, and 0 where not even the least is within the limit.
    """
    slots = site.machines * site.slots
    slowest = max(service.slot_s / slots, service.receive_s, service.deliver_s)
    if site.pairs:
        slowest = max(slowest, service.finish_s / site.pairs)
    if site.cards:
        slowest = max(slowest, service.segment_s / (site.machines * site.cards))
    top = 3600 / slowest * sum(hours) / max(hours)
    low, high, middle = 0.0, 1.3 * top, 0.4 * top
    while high > 1.02 * low:
        within = run_days(middle, site, service, hours, seed).age_s(0.99) <= limit_s
        if not within and middle <= 0.1 * top:
            return 0
        low, high = (middle, high) if within else (low, middle)
        middle = math.sqrt(low * high) if low else 0.1 * top
    unit = 10 ** (math.floor(math.log10(low)) - 1)
    return int(low // unit * unit)
