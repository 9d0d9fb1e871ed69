"""A receiver on a free port, with what it wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from node.config.receive import CallerConfig, ReceiveConfig
from node.event_log import EventLog
from node.journal.journal import Journal
from node.receive.commitment import Archive
from node.receive.step import ReceiveStep
from node.store.spool import Spool
from node.tls.credentials import Credentials


def callers(*ae_titles: str, address: str = "127.0.0.1", certificate: str = "") -> Any:
    """One caller per AE title, all of one address."""
    return tuple(
        CallerConfig(
            name=f"caller{n}", ae_title=title, addresses=(address,), certificate=certificate
        )
        for n, title in enumerate(ae_titles)
    )


@dataclass
class Listening:
    """A receiver on a free port, and what it wrote."""

    receiver: ReceiveStep
    journal: Journal
    spool: Spool
    port: int
    log: StringIO

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        ends_at = time.monotonic() + 60
        while len(self.events(name)) < count:
            assert time.monotonic() < ends_at, f"no {name} in time"
            time.sleep(0.01)
        return self.events(name)

    def files(self) -> list[Path]:
        return [
            p
            for p in self.spool.directory.root.rglob("*")
            if p.is_file() and p.suffix in {".dcm", ".part"}
        ]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Listening]]:
    started: list[Listening] = []

    def start(
        *,
        free: Callable[[], int] = lambda: 1 << 60,
        archives: Sequence[Archive] = (),
        credentials: Credentials | None = None,
        **receive: Any,
    ) -> Listening:
        spool, log = Spool(tmp_path / "state"), StringIO()
        journal = Journal.open(tmp_path / "state" / "journal.sqlite", time.time)
        receiver = ReceiveStep(
            ReceiveConfig(**receive),
            "NODE",
            "127.0.0.1",
            0,
            spool,
            journal,
            EventLog("t", log).event,
            free,
            archives=archives,
            credentials=credentials,
        )
        started.append(Listening(receiver, journal, spool, receiver.start(), log))
        return started[-1]

    yield start
    for one in started:
        one.receiver.stop(1.0)
        one.journal.close()
