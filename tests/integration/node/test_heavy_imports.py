"""Which heavy modules a new Python has not imported after one room of the node: the linter is blind to what
packages import in turn, and to imports inside functions that run at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import imported

ROOT = Path(__file__).parents[3]
NETWORKS = {"torch", "openvino"}
ENCODERS = {"highdicom", "skimage", "shapely"}
PEERS = {"pynetdicom", "httpx", "starlette"}
ARRAYS = {"numpy", "scipy", "pydicom"}

ABSENT = {
    "config": NETWORKS | ENCODERS | PEERS | ARRAYS | {"structlog", "sqlite3"},
    "journal": NETWORKS | ENCODERS | PEERS | ARRAYS | {"structlog"},
    "store": NETWORKS | ENCODERS | PEERS,
    "receive": NETWORKS | ENCODERS | PEERS,
    "track": NETWORKS | ENCODERS | PEERS,
    "selection": NETWORKS | ENCODERS | PEERS,
    "models": NETWORKS | ENCODERS | PEERS | ARRAYS,
    "observe": NETWORKS | ENCODERS | PEERS,
    "service": NETWORKS | ENCODERS | PEERS,
    "demo": NETWORKS | ENCODERS,
}
"""Of every module in a room together."""

ABSENT_OF_MODULES = {
    "node.cli.app": NETWORKS | ENCODERS | PEERS | ARRAYS | {"structlog"},
    "node.deliver.dicomweb": NETWORKS | ENCODERS | {"pynetdicom"},
    "node.deliver.step, node.deliver.factory, node.deliver.folder": NETWORKS | ENCODERS | PEERS,
    "node.models.registry": NETWORKS | ENCODERS | PEERS | ARRAYS,
    "node.observe.explain, node.observe.attention, node.observe.deliveries": ARRAYS,
    "node.offline.gather": NETWORKS | ENCODERS | PEERS,
    "node.work.step, node.work.worker_process": NETWORKS | ENCODERS | PEERS | ARRAYS,
}


def _modules(room: str) -> str:
    paths = [p for p in (ROOT / "node" / room).glob("*.py") if p.stem != "__init__"]
    return ", ".join(f"node.{room}.{p.stem}" for p in paths)


ALL = {_modules(room): names for room, names in ABSENT.items()} | ABSENT_OF_MODULES


@pytest.mark.parametrize("room", ABSENT)
def test_room_imports_nothing_heavy_that_it_does_not_need(room: str) -> None:
    assert imported(_modules(room), ALL) == set()


@pytest.mark.parametrize("modules", ABSENT_OF_MODULES)
def test_module_imports_nothing_heavy_that_it_does_not_need(modules: str) -> None:
    assert imported(modules, ALL) == set()


HEALTH = """
import sys
from node.cli.app import run
run(["health", "--config", sys.argv[1]])
print(*sys.modules)
"""


def test_health_which_runs_every_few_seconds_imports_little(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[node]\nae_title = "NODE"\n')
    ran = subprocess.run(
        [sys.executable, "-c", HEALTH, str(config)], capture_output=True, text=True, check=True, timeout=120
    )  # fmt: skip
    modules = set(ran.stdout.splitlines()[-1].split())
    assert "node.observe.health" in modules
    # Classes of events are made when they are imported: 0.03 s of this command.
    unwanted = (
        NETWORKS | ENCODERS | PEERS | ARRAYS | {"structlog", "node.events", "node.journal.journal"}
    )
    assert modules & unwanted == set()
    ours = {m for m in modules if m.startswith(("node.", "dicomseg."))}
    assert len(ours) <= 75, sorted(ours)


def test_what_is_imported_is_seen() -> None:
    dicom = "node.deliver.dicom"
    assert imported(dicom, {dicom: PEERS | ENCODERS}) == {"pynetdicom"}
