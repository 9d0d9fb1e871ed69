"""Whether what a cluster needs is installed."""

from __future__ import annotations

from cluster.extra import what_is_missing
from node.errors import ClusterRefused


def require_extra() -> None:
    """Check that Dask's distributed is installed. Raises `ClusterRefused`."""
    missing = what_is_missing()
    if missing:
        raise ClusterRefused(missing)
