"""Senders of objects: pynetdicom and DCMTK."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE

from dicomseg.read import parsing


def associate(port: int, *contexts: Any, calling: str = "SCANNER", called: str = "NODE") -> Any:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 8
    for context in contexts or (MRImageStorage,):
        uid, syntaxes = context if isinstance(context, tuple) else (context, ExplicitVRLittleEndian)
        ae.add_requested_context(uid, syntaxes)
    return ae.associate("127.0.0.1", port, ae_title=called)


def send_files(port: int, *objects: Dataset | Path) -> list[int]:
    """Statuses of the objects sent in one association."""
    assoc = associate(port)
    assert assoc.is_established
    statuses = [int(assoc.send_c_store(o).get("Status", -1)) for o in objects]
    assoc.release()
    return statuses


def storescu(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["storescu", "-v", "-aec", "NODE", "127.0.0.1", str(port), *arguments],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


needs_dcmtk = pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed")


# ---- broken, known and corrected objects ----------------------------------------------------------


def data_set_of(path: Path) -> bytes:
    raw = path.read_bytes()
    return raw[parsing.split_file_meta(raw)[0] :]
