"""The service in a thread of the test's process, with workers that never work: every other step runs as in service."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest

from node.config.file import read_config
from node.event_log import EventLog
from node.free_ports import free_ports
from node.service import service
from node.service.service import Node

CONFIG = """
[node]
ae_title = "NODE"
host = "127.0.0.1"
port = {port}
state = "state"
[[node.destination]]
name = "out"
kind = "folder"
path = "out"
[track]
settle_seconds = 0.3
quiet_seconds = 0.6
"""


@dataclass
class FakeWorkers:
    """Workers that are ready at once and never work; `exit_code` is how the first one ended."""

    exit_code: int | None = None
    ending: str = ""
    slots: int | None = None
    stopped: list[float] = field(default_factory=list)

    @property
    def processes(self) -> list[FakeWorkers]:
        return [self]

    @property
    def ready(self) -> bool:
        return self.exit_code is None

    def poll(self) -> int | None:
        return self.exit_code

    def resident_mb(self) -> float:
        return 0.0

    def run_once(self) -> int:
        return 0

    def stop(self, timeout_s: float) -> None:
        self.stopped.append(timeout_s)


@dataclass
class Running:
    """A node in a thread of this process."""

    path: Path
    port: int
    workers: FakeWorkers
    log: StringIO = field(default_factory=StringIO)
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: list[int] = field(default_factory=list)

    def start(self) -> Running:
        node = Node(read_config(self.path), self.path, EventLog("t", self.log))
        listens = threading.Event()

        def run() -> None:
            self.ended.append(node.serve(self.stopping, lambda _: listens.set()))

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert listens.wait(8)
        return self

    def stop(self) -> int:
        self.stopping.set()
        self.thread.join(8)
        assert not self.thread.is_alive()
        return self.ended[0]

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    @property
    def state(self) -> Path:
        return self.path.parent / "state"


def until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def threaded_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A node that is not started yet, below the folder of the test."""
    (port,), workers = free_ports(), FakeWorkers()
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(port=port))
    monkeypatch.setattr(service.WorkStep, "of", lambda *_: workers)
    running = Running(path, port, workers)
    yield running
    running.stopping.set()
