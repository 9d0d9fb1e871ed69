"""`bench receive` with real servers, small."""

from __future__ import annotations

import json
import shutil

import pytest

from node.bench.storage_servers import find_program
from node.cli.app import run

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed"),
]


def test_servers_are_compared_in_one_run_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "receive", "--instances", "4", "--rounds", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tcp_nodelay"] is True
    assert report["journalled"] == report["sent"] == 20
    servers = {row["server"] for row in report["rows"]}
    assert {"lumbar-node", "storescp"} <= servers
    assert ("Orthanc" in servers) == (find_program("Orthanc") is not None)
    node = next(row for row in report["rows"] if row["server"] == "lumbar-node")
    assert node["to_storescp"] > 0
    assert node["cpu_ms"] >= 0
