"""`DaskEngine`: the port over a Dask cluster. Imported where [work] engine is "dask" only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from distributed import Client, Future

from cluster import calls
from dicomseg.segmentation import EngineInfo, NotInView
from dicomseg.volume import Volume
from node.cluster.kind import SeenWorker, Team, WorkerKind, choose_team
from node.cluster.packed import Packed
from node.cluster.port import Abandoned, Answer, Away, Capacity, Done, Lost, Refused, Task
from node.cluster.remote import BEGUN, Raised, compute
from node.cluster.secured import security, settle
from node.config.cluster import ClusterConfig
from node.faults import describe_error

LOOK_S: Final = 1.0
"""How often the scheduler is asked for its workers, at most."""
AGAIN_S: Final = 5.0
"""Wait before a scheduler that could not be reached is tried again."""
FETCH_S: Final = 60.0
"""Longest wait for a segmentation that is computed already."""
QUIET_S: Final = 10.0
"""Seconds without a sign of life after which a worker gets no task; the scheduler gives it up later."""
PROBE_S: Final = 10.0
"""How often the scheduler is asked for a sign of life while a task runs."""
MISSES: Final = 2
"""Probes without an answer after which a cluster with a task of ours counts as away."""


@dataclass(slots=True)
class _Sign:
    """The newest sign of life of a worker, by the scheduler's clock, and when we first saw it, by ours."""

    seen: float
    since: float


@dataclass(slots=True, eq=False)
class _Flight:
    """A task on its way."""

    task: Task
    future: Future[Any]


class DaskEngine:
    """Computes on the workers of a scheduler, one task at a time.

    card: of the bundle in service. now: the monotonic clock. Raises `TlsError`.
    """

    def __init__(
        self,
        config: ClusterConfig,
        card: Mapping[str, Any],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        settle(config)
        self._config, self._card, self._now = config, card, now
        self._security = security(config)
        self._client: Client | None = None
        self._team = Team(None, (), ())
        self._look_at = 0.0
        self._misses = 0
        self._names: dict[str, str] = {}
        self._signs: dict[str, _Sign] = {}
        self._doubtful: dict[str, float] = {}
        self._flight: _Flight | None = None
        self._failed: list[Answer] = []
        self._wanted = WorkerKind.of(
            EngineInfo(card["name"], card["version"], card["digest"], "", "")
        )

    def capacity(self) -> Capacity:
        """Return what the scheduler lists, asked at most once in `LOOK_S`."""
        if self._now() >= self._look_at:
            self._look()
        return self._team.capacity(self._card, self._config.slots)

    def submit(self, task: Task) -> None:
        """Send a task to the workers that were counted last; whichever is free first computes it."""
        client, kind = self._client, self._team.kind
        if client is None or kind is None:
            self._failed.append(Away(task.key, task.attempt, self._away))
            return
        volume = Volume(
            task.volume.array, task.volume.affine
        )  # the frame of reference names a study
        name = f"{task.key}-{task.attempt}"
        try:
            future = client.submit(
                compute, volume, task.info, task.limit_s, name,
                key=name, pure=False, retries=0,
                workers=list(self._team.addresses), resources={kind.resource: 1},
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - the client's many ways of being closed
            self._failed.append(Away(task.key, task.attempt, describe_error(error)))
            return
        self._flight = _Flight(task, future)
        self._look_at = self._now() + PROBE_S

    def poll(self, seconds: float) -> Sequence[Answer]:
        """Return the answer, if it comes within the time."""
        failed, self._failed = self._failed, []
        flight = self._flight
        if failed or flight is None:
            return failed
        try:
            error = flight.future.exception(timeout=seconds)
        except TimeoutError:
            if self._now() >= self._look_at:
                self._look()
                self._look_at = self._now() + PROBE_S
            failed, self._failed = self._failed, []
            return failed
        except Exception as fault:  # noqa: BLE001 - as above
            return [self._landed(Away, describe_error(fault))]
        if flight.future.status == "error":
            return [self._lost(flight, error)]
        if flight.future.status != "finished":
            return [self._landed(Away, self._away)]
        return [self._fetched(flight)]

    def abandon(self, key: str, attempt: int) -> Abandoned:
        """Release the task; if it was begun, its worker gets no other one of ours while it might still compute."""
        flight = self._flight
        if flight is None or (flight.task.key, flight.task.attempt) != (key, attempt):
            return Abandoned()
        self._flight = None
        address, begun = self._worker_of(flight), self._has_begun(flight)
        with suppress(Exception):
            flight.future.release()
        name = self._names.get(address, address)
        if name and begun:
            self._doubtful[name] = self._now() + flight.task.limit_s  # it has ended itself by then
            self._look_at = 0.0
        return Abandoned(name, begun)

    def close(self) -> None:
        """Leave the cluster."""
        self._flight = None
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.close(timeout=calls.CONNECT_S)

    @property
    def _away(self) -> str:
        return f"the cluster's scheduler {self._config.scheduler} does not answer"

    def _landed(self, kind: type[Away | Lost], why: str) -> Answer:
        if self._flight is None:
            raise AssertionError("a task was on its way")
        task, self._flight = self._flight.task, None
        if kind is Away:
            self._leave()
        self._look_at = 0.0
        return kind(task.key, task.attempt, why)

    def _lost(self, flight: _Flight, error: BaseException | None) -> Answer:
        """Return the answer of a worker's end: an attempt was lost only if it had begun."""
        why = calls.why_lost(error)
        if self._has_begun(flight):
            return self._landed(Lost, why)
        self._flight, self._look_at = None, 0.0
        return Away(flight.task.key, flight.task.attempt, f"{why} before it began this series")

    def _has_begun(self, flight: _Flight) -> bool:
        """Whether a worker has announced so; True where it cannot be known, so that nothing is tried for ever."""
        if self._client is None:
            return True
        try:
            return flight.future.key in calls.events_of(self._client, BEGUN)
        except Exception:  # noqa: BLE001 - then it is not known
            return True

    def _fetched(self, flight: _Flight) -> Answer:
        task = flight.task
        try:
            found = flight.future.result(timeout=FETCH_S)
        except Exception as error:  # noqa: BLE001 - its worker ended meanwhile, or it cannot be read
            return self._lost(flight, error)
        self._flight = None
        self._look_at = 0.0
        if isinstance(found, Raised):
            return Refused(task.key, task.attempt, found.error)
        if isinstance(found, Packed):
            frame = task.volume.frame_of_reference_uid
            return Done(task.key, task.attempt, found.unpacked(frame), "the cluster")
        if isinstance(found, NotInView):
            return Done(task.key, task.attempt, found, "the cluster")
        return Lost(task.key, task.attempt, "an answer of an unknown kind came")

    def _worker_of(self, flight: _Flight) -> str:
        if self._client is None:
            return ""
        try:
            lying = calls.processing(self._client)
        except Exception:  # noqa: BLE001 - then it is not known
            return ""
        return next((a for a, keys in lying.items() if flight.future.key in keys), "")

    def _look(self) -> None:
        """Ask for the workers; a scheduler that does not answer is left, with a task after `MISSES` only."""
        self._look_at = self._now() + LOOK_S
        client = self._client or self._connect()
        if client is None:
            return
        try:
            found = calls.listed(client)
        except Exception:  # noqa: BLE001 - whatever the reason, it does not answer
            self._misses += 1
            if self._flight is None:
                self._leave()
            elif self._misses >= MISSES:
                self._failed.append(self._landed(Away, self._away))
            return
        self._misses = 0
        self._count(found)

    def _connect(self) -> Client | None:
        self._client = calls.connect(self._config.scheduler, self._security, "lumbar-node")
        if self._client is None:
            self._leave()
        return self._client

    def _leave(self) -> None:
        self.close()
        self._misses = 0
        self._team = Team(None, (), (f"{self._away}, or refuses the certificate",))
        self._look_at = self._now() + AGAIN_S

    def _count(self, listed: Mapping[str, Mapping[str, Any]]) -> None:
        now = self._now()
        self._names = {address: str(w.get("name", address)) for address, w in listed.items()}
        self._doubtful = {n: until for n, until in self._doubtful.items() if until > now}
        signs: dict[str, _Sign] = {}
        for address, worker in listed.items():
            seen, old = float(worker.get("last_seen", 0.0)), self._signs.get(address)
            signs[address] = old if old is not None and old.seen == seen else _Sign(seen, now)
        self._signs = signs
        workers = []
        for address, worker in listed.items():
            name = self._names[address]
            doubt = "no sign of life" if now - signs[address].since > QUIET_S else ""
            if name in self._doubtful:
                doubt = "it does not end a task"
            kind = WorkerKind.read(worker.get("resources", {}))
            workers.append(SeenWorker(address, name, kind, doubt))
        self._team = choose_team(workers, self._wanted)
