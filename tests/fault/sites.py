"""One node as a real process under a plan, with its destinations beside it."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.demo import servers
from node.free_ports import free_ports
from tests.fault.destinations import Destination
from tests.fault.ledger import Ledger
from tests.fault.objects import Series, Stock
from tests.fault.plan import Plan

ENDED: Final = (
    "delivered",
    "skipped",
    "incomplete",
    "failed",
    "quarantined",
    "superseded",
    "purged",
)
KILLED: Final = -signal.SIGKILL
START_S: Final = 180.0
"""Longest wait for a node to listen: four of them may start on two busy cores."""
POLL_S: Final = 0.05

_CONFIG: Final = """\
[node]
ae_title = "{ae}"
port = {port}
state = "{state}"
[receive]
disk_low_mb = 1
disk_high_mb = 1
idle_seconds = {idle_s}
{receive}[track]
quiet_seconds = 4
settle_seconds = 0.5
[work]
max_attempts = 50
[model]
bundle = "{bundle}"
threads = 1
[results]
pictures = {pictures}
{more}"""


@dataclass(slots=True)
class Site:
    """A node. receive: further lines of that section. more: further sections.

    unforeseen: what happened to its processes and should not. remembered: objects of results that may be purged.
    """

    folder: Path
    stock: Stock
    destinations: tuple[Destination, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    receive: str = ""
    more: str = ""
    remembered: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    idle_s: float = 10.0
    pictures: bool = False
    state: Path = field(init=False)
    port: int = field(init=False)
    plan: Plan = field(init=False)
    unforeseen: list[str] = field(default_factory=list)
    longest_wait_s: float = math.inf
    """For variants that are known to get stuck."""
    _running: servers.Running | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state"
        (self.port,) = free_ports(1)
        self.plan = Plan(self.folder / "plan")

    # ---- life ----

    @property
    def log(self) -> Path:
        """The log of all lives."""
        return self.folder / "node.log"

    def configure(self) -> Path:
        """Write the configuration."""
        path = self.folder / "config.toml"
        path.write_text(
            _CONFIG.format(
                ae=servers.NODE_AET, port=self.port, state=self.state, bundle=self.stock.bundle,
                receive=self.receive, idle_s=self.idle_s, pictures=str(self.pictures).lower(),
                more=self.more,
            )
            + "".join(d.section for d in self.destinations),
            encoding="utf-8",
        )  # fmt: skip
        return path

    def start(self, *, may_die: bool = False) -> bool:
        """Start a life of the node under the plan as it is; True when it listens.

        may_die: it may be killed before that. Raises `ServerFailed`.
        """
        command = [servers.command("lumbar-node"), "serve", "--config", str(self.configure())]
        environment = {**os.environ, **self.plan.write(), "OMP_NUM_THREADS": "1"}
        try:
            self._running = servers.start(
                "lumbar-node",
                command,
                self.log,
                lambda: servers.listens(self.port),
                env=environment,
                timeout_s=START_S,
            )
        except servers.ServerFailed:
            if not may_die:
                raise
            return False
        return True

    @property
    def pid(self) -> int:
        """Process id of the node."""
        return 0 if self._running is None else self._running.process.pid

    @property
    def alive(self) -> bool:
        """Whether the node runs."""
        return self._running is not None and self._running.alive

    def died(self, seconds: float) -> bool:
        """Wait for the end of the node; False when it lives on. Another end than SIGKILL is unforeseen."""
        if self._running is None:
            return True
        try:
            code = self._running.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if code != KILLED:
            self.unforeseen.append(f"the node ended with exit code {code}; see {self.log}")
        self._running = None
        return True

    def kill(self) -> None:
        """End the node at once, as a power cut does to a process."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                self._running.process.kill()
            self.died(30)

    def stop(self) -> None:
        """Stop the node in order; it has to end with 0."""
        if self._running is not None:
            code = servers.stop(self._running)
            self._running = None
            if code != 0:
                self.unforeseen.append(f"the ordered stop ended with exit code {code}")

    def children(self) -> list[int]:
        """Process ids below the node."""
        found, todo = [], [self.pid]
        while todo:
            parent = todo.pop()
            listed = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(parent)],
                capture_output=True,
                text=True,
                check=False,
            )
            below = [int(p) for p in listed.stdout.split()]
            found += below
            todo += below
        return found

    # ---- what is known of it ----

    def query(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Ask the journal beside the node, by a connection of our own; nothing while there is no journal."""
        path = self.state / "journal.sqlite"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            db.row_factory = sqlite3.Row
            try:
                return db.execute(sql, values).fetchall()
            except sqlite3.OperationalError:
                return []  # not made yet, or held for a moment

    def states(self) -> dict[str, str]:
        """State of every series by its UID."""
        return {r["series"]: r["state"] for r in self.query("SELECT series, state FROM series")}

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds; False when it does not in time, or the node has ended."""
        deadline = time.monotonic() + min(seconds, self.longest_wait_s)
        while time.monotonic() < deadline:
            if done():
                return True
            if not self.alive:
                return done()
            time.sleep(POLL_S)
        return done()

    def wait_delivered(self, series: Series, seconds: float) -> bool:
        """Wait until one series is delivered; False when it is not in time."""
        return self.wait(lambda: self.states().get(series.series) == "delivered", seconds)

    def wait_ended(self, seconds: float) -> bool:
        """Wait until every series has ended, all that the ledger expects among them, and every delivery.

        seconds: without a change of any state, so that a slow machine is not taken for a node that is stuck.
        """

        def deliveries() -> list[tuple[object, ...]]:
            return [tuple(row) for row in self.query("SELECT id, state FROM delivery ORDER BY id")]

        def ended() -> bool:
            states = self.states()
            wanted = {s.series for s in self.ledger.expected}
            return (
                wanted <= states.keys()
                and all(s in ENDED for s in states.values())
                and all(state in ("confirmed", "dead") for _, state in deliveries())
            )

        while True:
            before = self.states(), deliveries()
            if self.wait(ended, seconds):
                return True
            if not self.alive or before == (self.states(), deliveries()):
                return False
