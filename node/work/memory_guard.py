"""Ends a worker that takes more memory than it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.work.worker_process import WorkerProcess


@dataclass(frozen=True, slots=True)
class MemoryGuard:
    """Ends a worker that takes more memory than it may; a step of its own, so that nothing delays it."""

    processes: Sequence[WorkerProcess]
    limit_mb: int

    def run_once(self) -> int:
        """Look at every worker; returns how many were ended."""
        ended = 0
        for process in self.processes:
            if process.resident_mb() > self.limit_mb:
                process.kill(f"more than {self.limit_mb} MB of memory")
                ended += 1
        return ended
