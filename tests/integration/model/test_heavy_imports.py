"""Which packages a new Python has imported after one room of model: the linter cannot see what the imported packages import in turn."""

from __future__ import annotations

import pytest

from tests.support.imports import imported

DICOM = {"pydicom", "highdicom", "SimpleITK", "pynetdicom"}
LEARNING = {"torch", "openvino", "safetensors"}
ABOVE = {"node", "training"}


NO_USE: dict[str, set[str]] = {
    "model.errors": {"numpy", "scipy", *LEARNING},
    "model.grid": {"numpy", "scipy", *LEARNING},
    "model.bundle.card": {"numpy", "scipy", *LEARNING},
    "model.bundle.calibration": LEARNING,
    "model.patch": LEARNING,
    "model.postprocess": LEARNING,
    "model.plausibility": LEARNING,
    "model.engines.port": LEARNING,
    "model.engines.coded": LEARNING,
    "model.networks.disc_channels": {"numpy", *LEARNING},
    "model.networks.deeplab": {"scipy", "openvino", "safetensors"},
    "model.networks.coordinates": LEARNING,
    "model.networks.sizes": LEARNING,
    "model.engines.choose": LEARNING,
    "model.engines.graph_file": LEARNING,
    "model.engines.openvino_cpu": LEARNING,
    "model.level.counting": LEARNING,
    "model.level.finder": LEARNING,
    "model.window": LEARNING,
    "model.roots": LEARNING,
    "model.orientation": LEARNING,
    "model.bundle.load": LEARNING,
    "model.bundle.write": {"openvino"},
    "model.segment": LEARNING,
}
"""Module → packages that importing it must not import, beside those that none of them may."""
ABSENT = {module: names | DICOM | ABOVE for module, names in NO_USE.items()}


@pytest.mark.parametrize("module", ABSENT)
def test_a_room_does_not_import_what_it_has_no_use_for(module: str) -> None:
    assert imported(module, ABSENT) == set()
