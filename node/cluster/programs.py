"""The programs of a cluster: the scheduler, and a worker with its model."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from urllib.parse import urlsplit

from distributed import Scheduler, Worker

from cluster.secured import PAGES
from cluster.server import JOIN_S, announce, run_server
from model.bundle.load import LoadedModel
from node.cluster.kind import WorkerKind
from node.cluster.remote import BEGUN, serve_model
from node.cluster.secured import security, settle
from node.config.cluster import ClusterConfig
from node.errors import ClusterAway, PortBusy


def run_scheduler(config: ClusterConfig, listen: str, ready: Callable[[str], None]) -> int:
    """Run the scheduler until SIGTERM. listen: its address. ready: called with the address in use.

    Returns 0.

    Raises:
        TlsError: a file of [cluster] cannot be used.
        PortBusy: the address cannot be listened on.
    """
    settle(config)
    parts = urlsplit(listen)

    async def run() -> int:
        server = Scheduler(
            host=parts.hostname, port=parts.port or 0, protocol=f"{parts.scheme}://", interface=None,
            security=security(config), dashboard=False, dashboard_address=PAGES,
        )  # fmt: skip
        return await run_server(server, lambda: ready(server.address))

    try:
        return asyncio.run(run())
    except OSError as error:
        raise PortBusy(
            f"{listen}: {error.strerror or 'cannot be listened on'}; stop the program that holds it, or give another"
        ) from error


def run_worker(
    config: ClusterConfig, model: LoadedModel, port: int, ready: Callable[[str], None]
) -> int:
    """Serve a model to the scheduler of the configuration until SIGTERM, or until the scheduler is gone.

    port: to listen on, 0 for any. ready: called with the address in use when the scheduler knows this worker.
    Returns 0, or 5 when the scheduler is gone.

    Raises:
        ClusterAway: the scheduler cannot be reached.
        TlsError: a file of [cluster] cannot be used.
    """
    settle(config)
    name = f"{socket.gethostname()}/{os.environ.get('CUDA_VISIBLE_DEVICES', 'cpu')}/{os.getpid()}"

    async def run(folder: str) -> int:
        server = Worker(
            config.scheduler, nthreads=1, name=name, port=port, security=security(config),
            resources={WorkerKind.of(model.info).resource: 1}, memory_limit=0,
            local_directory=folder, dashboard=False, dashboard_address=PAGES, death_timeout=JOIN_S,
        )  # fmt: skip
        serve_model(model, lambda task: announce(server, BEGUN, task))
        return await run_server(server, lambda: ready(server.address))

    with tempfile.TemporaryDirectory(prefix="lumbar-node-worker-") as folder:
        try:
            return asyncio.run(run(folder))
        except TimeoutError as error:
            raise ClusterAway(
                f"the scheduler {config.scheduler} does not answer, or refuses the certificate;"
                " start it, or compare [cluster] trusted on both machines"
            ) from error
