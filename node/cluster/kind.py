"""`WorkerKind`: what a worker is, as it registers itself; only workers of the asked kind get tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.machine import Machine
from dicomseg.segmentation import EngineInfo
from node.cluster.port import Capacity


@dataclass(frozen=True, slots=True)
class WorkerKind(Machine):
    """What must be the same here and there, the bundle with it; and on what a worker computes.

    digest: of the bundle.
    """

    digest: str
    engine: str
    precision: str

    @classmethod
    def of(cls, info: EngineInfo) -> WorkerKind:
        """Return the kind of this machine with a model."""
        return cls.here(info.digest, info.engine, info.precision)

    def unlike(self, wanted: WorkerKind) -> str:
        """Return why a worker of this kind may not be used, "" if it may; on what it computes is left open."""
        other = self.other_program("the node has", wanted)
        if other or self.digest == wanted.digest:
            return other
        return f"bundle {self.digest[:12]}, in service is {wanted.digest[:12]}; copy that bundle and restart the worker"


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker in the cluster's list. doubt: why it is not used just now, "" if it may be."""

    address: str
    name: str
    kind: WorkerKind | None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Team:
    """The workers that may be used together: they compute on the same, so that results are the same."""

    kind: WorkerKind | None
    addresses: tuple[str, ...]
    unused: tuple[str, ...]

    def capacity(self, card: Mapping[str, Any], most: int = 0) -> Capacity:
        """Return it as the port has it. card: of the bundle in service. most: slots for this node, 0 = all."""
        if self.kind is None:
            return Capacity(unused=self.unused)
        kind = self.kind
        info = EngineInfo(card["name"], card["version"], kind.digest, kind.engine, kind.precision)
        slots = len(self.addresses)
        return Capacity(min(slots, most) if most else slots, info, self.unused)


def choose_team(workers: Iterable[SeenWorker], wanted: WorkerKind) -> Team:
    """Return the largest group of usable workers with one engine and precision; the others with the reason.

    wanted: the node's own kind; its engine and precision do not matter.
    """
    usable: list[tuple[SeenWorker, WorkerKind]] = []
    unused: list[str] = []
    for worker in sorted(workers, key=lambda w: w.name):
        why = "not a worker of this program" if worker.kind is None else worker.kind.unlike(wanted)
        why = why or worker.doubt
        if why or worker.kind is None:
            unused.append(f"{worker.name}: {why}")
        else:
            usable.append((worker, worker.kind))
    if not usable:
        return Team(None, (), tuple(unused))
    counts = Counter(kind for _, kind in usable)
    best = min(counts, key=lambda kind: (-counts[kind], kind.resource))
    unused += [
        f"{w.name}: computes on {k.engine} in {k.precision}, most on {best.engine} in {best.precision};"
        " make them the same"
        for w, k in usable
        if k != best
    ]
    return Team(best, tuple(w.address for w, k in usable if k == best), tuple(unused))
