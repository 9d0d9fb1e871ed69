"""`bench receive`: how fast a node, DCMTK's storescp and Orthanc take the same series, side by side.

Every server runs the entire time and is visited in turn, so that what else the machine does meets all of them;
a ratio is the median over the rounds of two times of one round.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from node.bench.series import INSTANCE_BYTES, make_templates, write_series
from node.bench.storage_servers import (
    CALLED,
    StorageServer,
    environment,
    find_program,
    start_node,
    start_orthanc,
    start_storescp,
)
from node.errors import BenchFailed, UsageError
from node.journal.journal import Journal
from node.store.layout import StateDirectory

SENDERS: Final = (1, 4)
SEND_S: Final = 120.0
"""Time for one visit; the slowest server takes a twentieth of it on an idle machine."""
_LOOK_S: Final = 0.25
_REST_S: Final = 20.0
_RESTS_BELOW: Final = 0.25
"""Share of a core that a server at rest takes at most; and how long, and how often, it is looked at."""
_COPIES: Final = 4
"""Copies of every series on disk at one time: the sender's and one at each server."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent. instances: of each sender in each round."""

    instances: int = 128
    rounds: int = 5

    @property
    def disk_bytes(self) -> int:
        """Bytes that the temporary folder needs."""
        return INSTANCE_BYTES * self.instances * self.rounds * sum(SENDERS) * _COPIES


@dataclass(frozen=True, slots=True)
class Visit:
    """One server that took one round: wall seconds, CPU seconds of the server, its memory afterwards."""

    wall_s: float
    cpu_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Row:
    """One server with one number of senders; ratios are of rates, above 1 is faster than the other."""

    server: str
    version: str
    senders: int
    instances: int
    visits: tuple[Visit, ...]
    memory_before_mb: float
    to_storescp: float | None = None
    to_orthanc: float | None = None

    @property
    def rate(self) -> float:
        """Instances per second, median of the rounds."""
        return self.instances / statistics.median(v.wall_s for v in self.visits)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server per instance, over all rounds."""
        return 1000 * sum(v.cpu_s for v in self.visits) / (self.instances * len(self.visits))

    def as_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {
            **asdict(self),
            "rate": self.rate,
            "mb_per_s": self.rate * INSTANCE_BYTES / 1e6,
            "cpu_ms": self.cpu_ms,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The rows, what was left out and why, and the objects of which the node has a row in its journal."""

    plan: Plan
    rows: tuple[Row, ...]
    absent: tuple[str, ...]
    sent: int
    journalled: int

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "instances": self.plan.instances,
            "rounds": self.plan.rounds,
            "instance_bytes": INSTANCE_BYTES,
            "tcp_nodelay": environment()["TCP_NODELAY"] == "1",
            "sent": self.sent,
            "journalled": self.journalled,
            "absent": list(self.absent),
            "rows": [row.as_json() for row in self.rows],
        }


@dataclass(slots=True)
class _Run:
    """The servers of one run, and their visits so far."""

    plan: Plan
    folder: Path
    servers: list[StorageServer]
    visits: dict[tuple[str, int], list[Visit]] = field(default_factory=dict)
    series: int = 0

    def round(self, templates: Sequence[bytes], senders: int, first: int) -> None:
        """Visit every server with the same new series, another one first in each round."""
        folders = []
        for _ in range(senders):
            self.series += 1
            folders.append(write_series(templates, self.series, self.folder / "out"))
        for n in range(len(self.servers)):
            server = self.servers[(n + first) % len(self.servers)]
            self.visits.setdefault((server.name, senders), []).append(_visit(server, folders))
        for folder in folders:
            shutil.rmtree(folder)


def measure_receiving(plan: Plan, progress: Callable[[str], None]) -> Report:
    """Start the servers that are installed, send, stop them.

    Raises:
        UsageError: DCMTK's storescu is absent, or the disk is too full.
        BenchFailed: a server did not start, or did not take everything.
    """
    if find_program("storescu") is None:
        raise UsageError("DCMTK's storescu is not installed, and it is the sender; install dcmtk")
    with tempfile.TemporaryDirectory(prefix="lumbar-node-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < 2 * plan.disk_bytes:
            need = 2 * plan.disk_bytes // 1_000_000
            raise UsageError(
                f"{folder.parent} has {free // 1_000_000} MB free, {need} are needed;"
                " set TMPDIR to a larger disk, or send less (--instances, --rounds)"
            )
        run, absent = _start_servers(plan, folder, stack, progress)
        before = {s.name: s.memory_mb() for s in run.servers}
        templates = make_templates(plan.instances)
        for number in range(plan.rounds):
            for senders in SENDERS:
                progress(f"round {number + 1} of {plan.rounds}, {senders} sender(s)")
                run.round(templates, senders, number)
        journal = Journal.reading(StateDirectory(folder / "state").journal, time.time)
        journalled = journal.counts().get("instance.stored", 0)
        journal.close()
        return Report(plan, _rows(run, before), absent, run.series * plan.instances, journalled)


def _start_servers(
    plan: Plan, folder: Path, stack: ExitStack, progress: Callable[[str], None]
) -> tuple[_Run, tuple[str, ...]]:
    """Start every server; returns them and a sentence for each that is absent."""
    servers, absent = [], []
    progress("start the servers")
    for start, name, package in (
        (start_node, "lumbar-node", ""),
        (start_storescp, "storescp", "dcmtk"),
        (start_orthanc, "Orthanc", "orthanc"),
    ):
        server = start(folder)
        if server is None:
            absent.append(f"{name} is not installed and left out; install {package}")
            continue
        stack.callback(server.stop)
        servers.append(server)
    return _Run(plan, folder, servers), tuple(absent)


def _visit(server: StorageServer, folders: Sequence[Path]) -> Visit:
    """Send each folder in an association of its own, all at once. Raises `BenchFailed`."""
    program = find_program("storescu")
    if program is None:
        raise BenchFailed("storescu is gone")
    cpu_before, began = server.cpu_s(), time.perf_counter()
    senders = [
        subprocess.Popen(
            [program, "-aec", CALLED, "+sd", "127.0.0.1", str(server.port), str(folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(),
        )
        for folder in folders
    ]  # fmt: skip
    try:
        ended = [(s.communicate(timeout=SEND_S)[1], s.returncode) for s in senders]
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"{server.name} did not take a series within {SEND_S:.0f} s") from None
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
    wall_s = time.perf_counter() - began
    for complaint, code in ended:
        if code:
            line = (complaint.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise BenchFailed(f"{server.name} did not take every instance: {line}")
    return Visit(wall_s, _at_rest(server) - cpu_before, server.memory_mb())


def _at_rest(server: StorageServer) -> float:
    """Wait until a server is done with what it took, so that it does not slow the next one; returns its CPU seconds."""
    ends_at, before = time.monotonic() + _REST_S, server.cpu_s()
    while time.monotonic() < ends_at:
        time.sleep(_LOOK_S)
        now = server.cpu_s()
        if now - before < _RESTS_BELOW * _LOOK_S:
            return now
        before = now
    return before


def _rows(run: _Run, before: dict[str, float]) -> tuple[Row, ...]:
    return tuple(
        Row(
            server.name,
            server.version,
            senders,
            senders * run.plan.instances,
            tuple(run.visits[server.name, senders]),
            before[server.name],
            _ratio(run, "storescp", server.name, senders),
            _ratio(run, "Orthanc", server.name, senders),
        )
        for senders in SENDERS
        for server in run.servers
    )


def _ratio(run: _Run, other: str, name: str, senders: int) -> float | None:
    """Return how much faster than the other server, median over the rounds; None without the other one."""
    theirs, ours = run.visits.get((other, senders)), run.visits[name, senders]
    if theirs is None:
        return None
    return statistics.median(b.wall_s / a.wall_s for a, b in zip(ours, theirs, strict=True))
