"""Which packages a new Python has imported after one room: the linter cannot see what the imported packages import in turn."""

from __future__ import annotations

import pytest

from tests.support.imports import imported

DICOM = {"pydicom", "highdicom", "SimpleITK", "nibabel"}


ABSENT: dict[str, set[str]] = {
    "training.data.cases": {"torch", "scipy", *DICOM},
    "training.data.folds": {"torch", "scipy", *DICOM},
    "training.data.held_out": {"torch", "scipy", *DICOM},
    "training.data.prepare": {"torch", "pydicom", "highdicom"},
    "training.data.painted_ct": {"torch", "highdicom"},
    "training.phantom": {"torch", *DICOM},
    "training.phantom.study": {"torch", "highdicom", "SimpleITK"},
    "training.fit.segmentation": DICOM,
    "training.fit.level": DICOM,
    "training.fit.roots": DICOM,
    "training.importing.manifest": {"torch", "scipy", *DICOM},
    "training.evaluate.summary": {"torch", *DICOM},
    "training.retrain.gate": {"torch", *DICOM},
    "training.report.report": {"torch", *DICOM},
    "training.cli.app": {"torch", *DICOM},
}
"""Module → packages that importing it must not import."""


@pytest.mark.parametrize("module", ABSENT)
def test_a_room_does_not_import_what_it_has_no_use_for(module: str) -> None:
    assert imported(module, ABSENT) == set()
