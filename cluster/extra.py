"""Whether what a cluster needs is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

EXTRA: Final = "distributed"


def what_is_missing() -> str:
    """Return what to install, "" where Dask's distributed is."""
    if find_spec(EXTRA) is not None:
        return ""
    return (
        f"a cluster needs the package {EXTRA}, which is not installed; `sh install.sh --cluster`,"
        " `make install-cluster`, or pip's extra cluster"
    )
