"""Settings of Dask for every process of a cluster, and its TLS: certificates on both sides."""

from __future__ import annotations

import ssl
from typing import Any, Final

import dask
from distributed import Security

from cluster.certificates import CIPHERS, Files, blocks, bounded, load_pair, load_trusted

CONNECT_S: Final = 10
"""Seconds after which a connection that does not come up is given up."""
_SETTINGS: Final[dict[str, Any]] = {
    "distributed.scheduler.allowed-failures": 0,  # who sent a task tries again, nothing else
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.http.routes": [],  # no pages: they would not ask who comes
    "distributed.worker.http.routes": [],
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    "distributed.comm.timeouts.tcp": "30s",
    "distributed.comm.retry.count": 0,
    "distributed.admin.large-graph-warning-threshold": "1GB",  # a volume is our ordinary argument
    "distributed.admin.tick.limit": "30s",
}
PAGES: Final = "127.0.0.1:0"
"""Where Dask's empty HTTP server listens, which cannot be left out."""


def settle(silent_s: float) -> None:
    """Set what this process must not leave to the machine's own configuration of Dask.

    silent_s: time without a sign of life after which a scheduler gives a worker up.
    """
    dask.config.set({**_SETTINGS, "distributed.scheduler.worker-ttl": f"{silent_s:g}s"})


def security(files: Files | None) -> Security:
    """Return the TLS of a cluster; without files it is that of loopback: none.

    Raises:
        PemUnusable: a file cannot be used.
    """
    if files is None:
        return Security()
    # Dask takes the files as they are: OpenSSL says here, in our words, what is wrong with one.
    context = bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    load_pair(context, files.certificate, files.private_key)
    load_trusted(context, files.trusted)
    authorities = "\n".join(b for path in files.trusted for b in blocks(path, "trusted"))
    pair = {
        f"tls_{role}_{part}": str(value)
        for role in ("client", "scheduler", "worker")
        for part, value in (("cert", files.certificate), ("key", files.private_key))
    }
    return Security(require_encryption=True, tls_ca_file=authorities, tls_ciphers=CIPHERS, **pair)
