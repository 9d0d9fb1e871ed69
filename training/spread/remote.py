"""What runs on a worker: one fold, in a folder of its own, with the cases that this machine has."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from model.bundle.card import default_path
from training.data.cases import list_cases
from training.data.folds import Fold
from training.evaluate.crossval import run_fold
from training.evaluate.crossval_plan import Cohort, CrossvalPlan
from training.evaluate.crossval_results import CASES
from training.spread.parcel import pack, unpack

OVERDUE: Final = 70
"""Exit code of a worker that ended itself: its fold made no progress, and nothing else frees its slot."""
LEVEL_WEIGHTS: Final = "given-level.pt"
"""Where a finder lies that the plan names by a file of the other machine."""
LOOK_S: Final = 1.0
"""How often a fold is looked at, and how often at most it reports."""
UNWANTED_S: Final = 60.0
"""Seconds that a fold may go on whose home is gone, before its process ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One fold. name: of the task. tested: ids of the cases in folds. parcel: what the fold begins with.

    silent_s: time without a sign of progress after which the process ends itself.
    """

    name: str
    number: int
    fold: Fold
    plan: CrossvalPlan
    tested: tuple[str, ...]
    parcel: bytes
    silent_s: float
    level: bytes = b""
    """Weights of a finder that the plan names by a file, which the worker does not have."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a fold became. tested: how many cases, None at the time limit. parcel: its folder and its cases."""

    tested: int | None
    parcel: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Raised:
    """The fold raised an error; it is raised again at home, another worker would end alike."""

    error: Exception


class Unwanted(Exception):
    """Whoever asked for the fold is gone."""


@dataclass(slots=True)
class _Served:
    """What this process has for its folds; Dask calls plain functions, so it is the one state of a module here."""

    cases: Path | None = None
    report: Callable[[str, str], None] = lambda *_: None
    wanted: Callable[[str], bool] = lambda _: True


_SERVED: Final = _Served()


def serve_cases(
    cases: Path, report: Callable[[str, str], None], wanted: Callable[[str], bool]
) -> None:
    """Give this process the cases that `train_fold` trains on.

    report: called with a task's name and its progress. wanted: whether a task is still asked for.
    """
    _SERVED.cases, _SERVED.report, _SERVED.wanted = cases, report, wanted


def train_fold(job: Job) -> Made | Raised:
    """Train and test a fold; an error is a value, so that no other worker tries it."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lumbar-train-fold-") as folder,
            _Watch(job) as watch,
        ):
            return _train(job, Path(folder), watch.report)
    except MemoryError:
        os._exit(OVERDUE)  # what is left of this process is not to be trusted
    except Exception as error:  # noqa: BLE001 - raised again at home
        return Raised(error)


def _train(job: Job, out: Path, report: Callable[[str], None]) -> Made:
    if _SERVED.cases is None:
        raise AssertionError("a fold came to a process without cases")
    unpack(job.parcel, out)
    plan = job.plan
    if job.level:
        (out / LEVEL_WEIGHTS).write_bytes(job.level)
        plan = replace(plan, level=str(out / LEVEL_WEIGHTS))
    if plan.threads:
        torch.set_num_threads(plan.threads)  # of this thread
    paths = {p.stem: p for p in list_cases(_SERVED.cases)}
    cohort = Cohort(_SERVED.cases, {c: paths[c] for c in job.tested}, default_path())
    done = run_fold(job.number, job.fold, cohort, out, plan, report)
    made = pack(out, (f"fold-{job.number}", CASES))
    return Made(None if done is None else len(done), made)


class _Watch:
    """Looks at a fold beside it: ends it when it is not wanted any more, and the process when it makes no progress."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._heard = time.monotonic()
        self._reported = 0.0
        self._unwanted_since: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def report(self, text: str) -> None:
        """Take a sign of progress. Raises `Unwanted`."""
        self._heard = now = time.monotonic()
        if self._unwanted_since is not None:
            raise Unwanted
        if now - self._reported >= LOOK_S:
            self._reported = now
            _SERVED.report(self._job.name, text)

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            if self._unwanted_since is None and not _SERVED.wanted(self._job.name):
                self._unwanted_since = now
            unwanted = self._unwanted_since is not None and now - self._unwanted_since > UNWANTED_S
            if unwanted or now - self._heard > self._job.silent_s:
                os._exit(OVERDUE)
