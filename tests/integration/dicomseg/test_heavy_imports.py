"""Modules of the core import no more than their users can afford: the linter sees the imports of ours only."""

from __future__ import annotations

import pytest

from tests.support.imports import imported

LIGHT = {
    # Commands, configuration and the journal name these; they start in a fraction of a second.
    "dicomseg.errors": {"numpy", "scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.structures": {"numpy", "scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.measurement_names": {"numpy", "scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.implementation": {"numpy", "scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.read.rules": {"numpy", "scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.read.geometry_problem": {"numpy", "scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.result": {"scipy", "pydicom", "highdicom", "torch"},
    "dicomseg.segmentation": {"scipy", "pydicom", "highdicom", "torch"},
    # A receiver parses headers, the tracker assembles grids, a worker measures.
    "dicomseg.read.parsing": {"scipy", "highdicom", "torch"},
    "dicomseg.read.series": {"scipy", "highdicom", "torch"},
    "dicomseg.read.pixels": {"scipy", "highdicom", "torch"},
    "dicomseg.measure.measure": {"pydicom", "highdicom", "torch"},
    "dicomseg.encode.result_folder": {"torch", "openvino", "pynetdicom", "matplotlib"},
    "dicomseg.encode.pictures": {"torch", "openvino", "matplotlib"},
    "dicomseg.draw.texts": {"scipy", "pydicom", "matplotlib"},
}
"""Module → packages that importing it must not import."""


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_a_module_leaves_heavy_packages_alone(module: str) -> None:
    assert imported(module, LIGHT) == set()
