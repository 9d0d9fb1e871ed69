"""`DaskWorkers`: workers behind a scheduler of Dask. Imported by `crossval --engine dask` only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from distributed import Client, Future

from cluster import calls
from cluster.certificates import Files, PemUnusable
from cluster.secured import security, settle
from training.errors import UsageError, WorkersAway
from training.spread.home import Answer, Away, Lost, Seen
from training.spread.kind import FoldKind
from training.spread.remote import Job, Made, Raised, train_fold

SILENT_S: Final = 30.0
FETCH_S: Final = 300.0
"""Longest wait for a fold that is finished already."""
STEP_S: Final = 0.1
PROGRESS: Final = "lumbar-train-progress"
"""Topic under which workers tell their progress."""


class DaskWorkers:
    """Trains folds on the workers of a scheduler. wanted: the kind of this machine.

    Raises:
        UsageError: a file of the certificates cannot be used.
        WorkersAway: the scheduler cannot be reached.
    """

    def __init__(self, address: str, files: Files | None, wanted: FoldKind) -> None:
        self._address, self._wanted = address, wanted
        self._client = connected(address, files)
        self._futures: dict[str, Future[Any]] = {}
        self._prefix = f"{self._client.id}/"  # two cross-validations may use one scheduler

    def look(self) -> Seen:
        """Return the workers that have the same program and cases."""
        try:
            listed = calls.listed(self._client)
        except Exception:  # noqa: BLE001 - the folds say so, if it stays so
            return Seen({}, ())
        usable, unused = {}, []
        for address, worker in listed.items():
            name = str(worker.get("name", address))
            kind = FoldKind.read(worker.get("resources", {}))
            if kind is None:
                continue  # a worker that segments
            why = kind.unlike(self._wanted)
            if why:
                unused.append(f"worker {name}: {why}")
            else:
                usable[address] = name
        return Seen(usable, tuple(unused))

    def submit(self, worker: str, job: Job) -> None:
        """Send a fold to a worker."""
        key = f"{self._prefix}{job.name}"
        self._futures[job.name] = self._client.submit(
            train_fold, replace(job, name=key), key=key, pure=False, retries=0, workers=[worker]
        )

    def poll(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        """Return what has ended."""
        ends_at = time.monotonic() + seconds
        while not any(f.done() for f in self._futures.values()) and time.monotonic() < ends_at:
            time.sleep(STEP_S)
        ended = [name for name, future in self._futures.items() if future.done()]
        return [(name, self._answer(self._futures.pop(name))) for name in ended]

    def said(self) -> Mapping[str, str]:
        """Return the newest progress."""
        try:
            events = calls.events_of(self._client, PROGRESS)
        except Exception:  # noqa: BLE001 - the next time, or the folds are lost
            return {}
        ours = ((str(name), str(text)) for name, text in events)
        return {n.removeprefix(self._prefix): t for n, t in ours if n.startswith(self._prefix)}

    def abandon(self, name: str) -> None:
        """Release a task; its worker sees that it is not wanted."""
        future = self._futures.pop(name, None)
        if future is not None:
            with suppress(Exception):
                future.cancel(force=True)

    def close(self) -> None:
        """Leave the cluster; its workers end what they do for us."""
        with suppress(Exception):
            self._client.close(timeout=calls.CONNECT_S)

    def _answer(self, future: Future[Any]) -> Answer:
        if future.status == "error":
            return Lost(calls.why_lost(future.exception(timeout=calls.ANSWER_S)))
        if future.status != "finished":
            return Away(f"the scheduler {self._address} is gone")
        try:
            found = future.result(timeout=FETCH_S)
        except Exception as error:  # noqa: BLE001 - its worker ended meanwhile
            return Lost(calls.why_lost(error))
        return found if isinstance(found, Made | Raised) else Lost("an answer of an unknown kind")


def connected(address: str, files: Files | None) -> Client:
    """Return a client of the scheduler. Raises `UsageError`, `WorkersAway`."""
    settle(SILENT_S)
    try:
        ours = security(files)
    except PemUnusable as error:
        raise unusable(error) from error
    client = calls.connect(address, ours, "lumbar-train")
    if client is None:
        raise WorkersAway(
            f"the scheduler {address} does not answer, or refuses the certificate; start it, or compare --trusted"
        )
    return client


def unusable(error: PemUnusable) -> UsageError:
    """Return the same fault by the name of the option."""
    key, rest = str(error).split(":", 1)
    return UsageError(f"--{key.replace('_', '-')}:{rest}")
