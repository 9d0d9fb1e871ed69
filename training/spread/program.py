"""The program of a worker that trains folds."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from distributed import Worker

from cluster.certificates import Files, PemUnusable
from cluster.secured import PAGES, security, settle
from cluster.server import JOIN_S, run_server
from model.bundle.card import default_path
from training.errors import WorkersAway
from training.spread.client import PROGRESS, SILENT_S, unusable
from training.spread.kind import FoldKind
from training.spread.remote import serve_cases


def run_worker(
    address: str, files: Files | None, cases: Path, port: int, ready: Callable[[str], None]
) -> int:
    """Train folds for a scheduler until SIGTERM, or until the scheduler is gone.

    port: to listen on, 0 for any. ready: called with the address in use when the scheduler knows this worker.
    Returns 0, or 5 when the scheduler is gone.

    Raises:
        SourceMissing: there is no folder of cases.
        UsageError: a file of the certificates cannot be used.
        WorkersAway: the scheduler cannot be reached.
    """
    settle(SILENT_S)
    kind = FoldKind.of(cases, default_path())
    name = f"{socket.gethostname()}/train/{os.getpid()}"
    try:
        ours = security(files)
    except PemUnusable as error:
        raise unusable(error) from error

    async def run(folder: str) -> int:
        server = Worker(
            address, nthreads=1, name=name, port=port, security=ours, resources={kind.resource: 1},
            memory_limit=0, local_directory=folder, dashboard=False, dashboard_address=PAGES, death_timeout=JOIN_S,
        )  # fmt: skip

        def wanted(task: str) -> bool:
            state = server.state.tasks.get(task)
            return state is not None and state.state == "executing"

        serve_cases(cases, lambda task, text: server.log_event(PROGRESS, (task, text)), wanted)
        return await run_server(server, lambda: ready(server.address))

    with tempfile.TemporaryDirectory(prefix="lumbar-train-worker-") as folder:
        try:
            return asyncio.run(run(folder))
        except TimeoutError as error:
            raise WorkersAway(
                f"the scheduler {address} does not answer, or refuses the certificate; start it, or compare --trusted"
            ) from error
