from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from node.observe.health import (
    MAX_SILENCE_S,
    Health,
    Vitals,
    health_json,
    health_line,
    judge_vitals,
    read_health,
    report,
)
from node.store.layout import StateDirectory
from node.store.lock import Holder, locked

WELL = Vitals({"track": 0.1, "deliver pacs": 0.1, "receive": 0.2}, (), 2, 2, 5000, 1024)


def test_well() -> None:
    health = judge_vitals(WELL, 11112)
    assert health.problems == ()
    assert health_line(health) == "healthy: port 11112, 2 of 2 workers ready, 5000 MB free, no delivery waits"  # fmt: skip
    late = judge_vitals(replace(WELL, oldest_delivery_s=7200.4), 1)
    assert health_line(late).endswith("oldest waiting delivery 7200 s")
    assert late.problems == (), "a PACS that is down is no reason to restart the node"


@pytest.mark.parametrize(
    ("vitals", "live", "problem"),
    [
        (replace(WELL, loops={"track": 301.0}, hanging=("track",)), False, "track has hung for 301 s; restart"),
        (replace(WELL, journal_fault="disk I/O error"), False, "the journal cannot be read: disk I/O error"),
        (replace(WELL, workers_ready=1), True, "1 of 2 workers ready"),
        (replace(WELL, disk_free_mb=1023), True, "1023 MB are free, below disk_low_mb 1024"),
        (replace(WELL, cluster_slots=0, cluster_waits=True), True, "the cluster is away or has no worker"),
    ],
)  # fmt: skip
def test_ill(vitals: Vitals, live: bool, problem: str) -> None:
    health = judge_vitals(vitals)
    assert health.problems[0].startswith(problem)
    assert (not health.not_live) is live
    assert health_json(health)["live"] is live
    assert health_json(health)["ready"] is False
    assert health_line(health).startswith(f"unhealthy: {problem}")


def test_a_cluster_with_a_slot_or_a_fallback_is_well() -> None:
    assert not judge_vitals(replace(WELL, cluster_slots=0, cluster_waits=False)).problems
    assert not judge_vitals(replace(WELL, cluster_slots=1, cluster_waits=True)).problems


def test_line_names_the_gravest_and_counts_the_rest() -> None:
    health = Health(("a; b",), ("c", "d"))
    assert health_line(health) == "unhealthy: a; b (and 2 more)"


def test_report_of_a_running_node_is_read_back(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    assert read_health(tmp_path, now).problems[0].startswith(f"no node runs on {tmp_path}")
    with locked(tmp_path) as lock:
        assert read_health(tmp_path, now).problems == ("the node is starting",)
        health = judge_vitals(WELL, 11112)
        holder = Holder(1, now, "1.0", 11112, None, report(health, now))
        lock.describe(holder)
        assert read_health(tmp_path, now + MAX_SILENCE_S) == health
        stuck = read_health(tmp_path, now + MAX_SILENCE_S + 1)
        assert stuck.not_live == ("the node has not reported for 31 s; restart it",)
        assert not read_health(tmp_path, now - 3600).problems, "the clock was set back"
    assert read_health(tmp_path, now).problems[0].startswith("no node runs")


def test_group_of_the_state_folder_may_ask(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with locked(tmp_path):
        assert StateDirectory(tmp_path).lock.stat().st_mode & 0o777 == 0o640
    tmp_path.chmod(0o700)
    with locked(tmp_path):
        assert StateDirectory(tmp_path).lock.stat().st_mode & 0o777 == 0o600


def test_user_who_may_not_look_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with locked(tmp_path):
        monkeypatch.setattr("node.observe.health.os.open", closed)
        (problem,) = read_health(tmp_path, 0.0).problems
    assert problem == f"{tmp_path}/lock: may not be read by this user; ask as a member of its group"


@pytest.mark.process
def test_health_needs_neither_dicom_nor_arrays() -> None:
    code = (
        "import sys; from node.cli.app import run; code = run(['health', '-c', '/nonexistent/config.toml']);"
        "import node.observe.health, node.config.file;"
        "print(code, sorted({'pydicom', 'numpy', 'structlog', 'pynetdicom', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
