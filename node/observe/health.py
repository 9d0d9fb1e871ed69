"""Whether a running node is live and ready: what it reports of itself, judged.

Not live: a restart is the remedy. Ready: what is sent now is received and processed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from node.store.layout import StateDirectory
from node.store.lock import is_running, read_holder

REPORT_S: Final = 5.0
"""How often a running node reports."""
MAX_SILENCE_S: Final = 30.0
"""Age of a report from which its node is taken for stuck; a machine under load misses some."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a running node sees of itself.

    loops: seconds since a round of each loop began. hanging: loops whose round takes too long. workers_ready, workers: processes with a model, configured
    ones. journal_fault: why the journal cannot be read, "" if it can. oldest_delivery_s: age of the
    oldest result that a destination still has to get, 0 if there is none. cluster_slots: series that the
    cluster can compute at once, None without a cluster. cluster_waits: without a slot nothing is processed.
    """

    loops: Mapping[str, float]
    hanging: tuple[str, ...]
    workers_ready: int
    workers: int
    disk_free_mb: int
    disk_low_mb: int
    journal_fault: str = ""
    oldest_delivery_s: float = 0.0
    cluster_slots: int | None = None
    cluster_waits: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement. not_live, not_ready: sentences, empty if it is. vitals: None if the node does not run."""

    not_live: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()
    vitals: Vitals | None = None
    port: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong, the gravest first."""
        return self.not_live + self.not_ready


def judge_vitals(vitals: Vitals, port: int | None = None) -> Health:
    """Judge what a node sees of itself (pure)."""
    not_live = [
        f"{name} has hung for {vitals.loops[name]:.0f} s; restart the node"
        for name in vitals.hanging
    ]
    if vitals.journal_fault:
        not_live.append(f"the journal cannot be read: {vitals.journal_fault}")
    not_ready = []
    if vitals.workers_ready < vitals.workers:
        not_ready.append(
            f"{vitals.workers_ready} of {vitals.workers} workers ready; wait, or see WorkerEnded in the log"
        )
    if vitals.cluster_slots == 0 and vitals.cluster_waits:
        not_ready.append(
            "the cluster is away or has no worker of this version and bundle; see ClusterSeen in the log"
        )
    if vitals.disk_free_mb < vitals.disk_low_mb:
        not_ready.append(
            f"{vitals.disk_free_mb} MB are free, below disk_low_mb {vitals.disk_low_mb}; free disk space"
        )
    return Health(tuple(not_live), tuple(not_ready), vitals, port)


def report(health: Health, now: float) -> dict[str, Any]:
    """Return what the lock file of a running node holds of its health; now: seconds since 1970."""
    return {"at": now, "not_live": health.not_live, "not_ready": health.not_ready,
            "vitals": None if health.vitals is None else asdict(health.vitals)}  # fmt: skip


def read_health(state: Path, now: float) -> Health:
    """Read what the node of a state folder reported last; opens no journal and connects to nothing.

    now: seconds since 1970.
    """
    lock = StateDirectory(state).lock
    if _is_closed_to_us(lock):
        return Health((f"{lock}: may not be read by this user; ask as a member of its group",))
    if not is_running(state):
        return Health((f"no node runs on {state}; start `lumbar-node serve`",))
    holder = read_holder(state)
    reported = None if holder is None else holder.health
    if holder is None or holder.port is None or reported is None:
        return Health((), ("the node is starting",))
    silent_s = now - float(reported["at"])
    # A clock that was set back makes a report of the future; that says nothing about the node.
    silent = (
        (f"the node has not reported for {silent_s:.0f} s; restart it",)
        if silent_s > MAX_SILENCE_S
        else ()
    )
    return Health(
        silent + tuple(reported["not_live"]),
        tuple(reported["not_ready"]),
        Vitals(**{**reported["vitals"], "hanging": tuple(reported["vitals"]["hanging"])}),
        holder.port,
    )


def _is_closed_to_us(lock: Path) -> bool:
    """Return whether this user may not read a lock file, or not look into its folder."""
    try:
        os.close(os.open(lock, os.O_RDONLY))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def health_line(health: Health) -> str:
    """Return one line for people."""
    if health.problems:
        more = len(health.problems) - 1
        return f"unhealthy: {health.problems[0]}" + (f" (and {more} more)" if more else "")
    seen = health.vitals
    if seen is None:
        return "healthy"
    waiting = (
        f", oldest waiting delivery {seen.oldest_delivery_s:.0f} s"
        if seen.oldest_delivery_s
        else ", no delivery waits"
    )
    return (
        f"healthy: port {health.port}, {seen.workers_ready} of {seen.workers} workers ready,"
        f" {seen.disk_free_mb} MB free{waiting}"
    )


def health_json(health: Health) -> dict[str, Any]:
    """Return the judgement for programs."""
    return {
        "live": not health.not_live,
        "ready": not health.problems,
        "problems": list(health.problems),
        "port": health.port,
        **({} if health.vitals is None else asdict(health.vitals)),
    }
