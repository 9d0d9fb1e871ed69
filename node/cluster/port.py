"""The port of a machine room: what may run there, one volume in, one answer out.

An implementation only computes. Which series is worked on, how often and by whom is the journal's business, so
nothing behind this port tries anything twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dicomseg.segmentation import EngineInfo, NotInView, Segmentation
from dicomseg.volume import Volume


@dataclass(frozen=True, slots=True)
class Capacity:
    """What can be computed now.

    slots: tasks that run at the same time. info: the model and engine of them all; None without a slot.
    unused: workers that are there and may not be used, each with the reason.
    """

    slots: int = 0
    info: EngineInfo | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One attempt at one volume.

    key: names who asks, not the series; with `attempt` it names the answer. info: the model and engine that must compute it.
    limit_s: seconds of computing after which the worker ends itself.
    """

    key: str
    attempt: int
    volume: Volume
    info: EngineInfo
    limit_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A volume was segmented. host: where."""

    key: str
    attempt: int
    found: Segmentation | NotInView
    host: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Refused:
    """The computation raised an error, as it would have here; another attempt would end alike."""

    key: str
    attempt: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt has no answer: its worker ended. why: with the host."""

    key: str
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Away:
    """There was no attempt, through no fault of the series: the machines cannot be reached, or one ended before it began."""

    key: str
    attempt: int
    why: str


Answer = Done | Refused | Lost | Away


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An attempt that was given up. host: that had it, "" if unknown. begun: whether it computed, not only waited."""

    host: str = ""
    begun: bool = True


class ComputeEngine(Protocol):
    """Computes tasks somewhere. No method raises for a fault of the machines: that is an answer."""

    def capacity(self) -> Capacity:
        """Return what can be computed now; asks the machines at most now and then."""
        ...

    def submit(self, task: Task) -> None:
        """Hand a task over and return."""
        ...

    def poll(self, seconds: float) -> Sequence[Answer]:
        """Return what has ended, at the latest after so many seconds; each answer comes at least once."""
        ...

    def abandon(self, key: str, attempt: int) -> Abandoned:
        """Give an attempt up and return soon."""
        ...

    def close(self) -> None:
        """Let the machines go; what is in flight is dropped."""
        ...
