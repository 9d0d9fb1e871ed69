"""Which heavy modules a new Python has not imported after one room of the node: the linter is blind to what
packages import in turn, and to imports inside functions that run at once."""

from __future__ import annotations

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


@pytest.mark.parametrize("room", ABSENT)
def test_room_imports_nothing_heavy_that_it_does_not_need(room: str) -> None:
    paths = [p for p in (ROOT / "node" / room).glob("*.py") if p.stem != "__init__"]
    modules = ", ".join(f"node.{room}.{p.stem}" for p in paths)
    assert imported(modules, ABSENT[room]) == set()


@pytest.mark.parametrize("modules", ABSENT_OF_MODULES)
def test_module_imports_nothing_heavy_that_it_does_not_need(modules: str) -> None:
    assert imported(modules, ABSENT_OF_MODULES[modules]) == set()


def test_what_is_imported_is_seen() -> None:
    assert imported("node.deliver.dicom", PEERS | ENCODERS) == {"pynetdicom"}
