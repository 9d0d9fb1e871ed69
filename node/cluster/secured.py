"""Dask's settings and TLS by `[cluster]`."""

from __future__ import annotations

from pathlib import Path

from distributed import Security

from cluster import secured
from cluster.certificates import Files, PemUnusable
from node.config.cluster import ClusterConfig
from node.errors import TlsError
from node.tls.files import key_path, trusted_files


def settle(config: ClusterConfig) -> None:
    """Set what this process must not leave to the machine's own configuration of Dask."""
    secured.settle(config.silent_seconds)


def security(config: ClusterConfig) -> Security:
    """Return the TLS of the cluster; without files it is that of loopback: none.

    Raises:
        TlsError: a file of [cluster] cannot be used.
    """
    if not config.trusted:
        return secured.security(None)
    files = config.tls
    try:
        mine = Files(Path(files.certificate), key_path(files), trusted_files(files))
        return secured.security(mine)
    except PemUnusable as error:
        raise TlsError(f"[cluster] {error}") from error
    except TlsError as error:
        raise TlsError(str(error).replace("[tls]", "[cluster]")) from error
