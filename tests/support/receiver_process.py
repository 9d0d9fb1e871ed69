"""A receiver in a process of its own, so that its memory and its calls of the system can be watched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_RECEIVER: Final = """
import sys, time, threading
from pathlib import Path
from node.config.receive import ReceiveConfig
from node.event_log import EventLog
from node.journal.journal import Journal
from node.receive.step import ReceiveStep
from node.store.spool import Spool
state, config = Path(sys.argv[1]), ReceiveConfig(**eval(sys.argv[2]))
spool, journal = Spool(state), Journal.open(state / "journal.sqlite", time.time)
log = EventLog("t", open(state / "log", "w")).event
print(ReceiveStep(config, "NODE", "127.0.0.1", 0, spool, journal, log, lambda: 1 << 60).start(), flush=True)
threading.Event().wait(600)
"""
MANY: Final = {
    "max_associations": 40,
    "max_associations_per_peer": 40,
    "reserved_associations": 0,
}


class ReceiverProcess:
    """The receiver. before: a command that runs it, for example strace."""

    def __init__(self, state: Path, before: Sequence[str] = (), **config: float) -> None:
        self.state = state
        self.child = subprocess.Popen(
            [*before, sys.executable, "-c", _RECEIVER, str(state), repr(MANY | config)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.child.stdout is not None
        self.port = int(self.child.stdout.readline())

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Resident memory of the process; field: `VmHWM` for the most that it had."""
        status = Path(f"/proc/{self.child.pid}/status").read_text(encoding="ascii")
        (line,) = [one for one in status.splitlines() if one.startswith(field)]
        return int(line.split()[1]) / 1000

    def end(self) -> None:
        """Kill it."""
        self.child.kill()
        self.child.wait(20)
        assert self.child.stdout is not None
        self.child.stdout.close()
