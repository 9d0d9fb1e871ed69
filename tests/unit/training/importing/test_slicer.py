"""Segmentations of 3D Slicer: names, layers, cropped boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.labelled_volumes import (
    NAMES,
    as_slicer,
    grid,
    imported,
    only,
    painted,
    pair,
    write,
)
from training.importing.label_table import Target


@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("cropped", [False, True])
def test_a_segmentation_of_slicer_tells_its_structures_and_its_place(
    tmp_path: Path, layers: bool, cropped: bool
) -> None:
    """Without a table; a cropped one has its own origin."""
    image, labels = painted(grid(np.diag([-1.0, -1, 1])))
    stored = labels[3:, 2:-1, 1:-2] if cropped else labels
    segmentation = as_slicer(stored, NAMES, layers=layers)
    pair(image, segmentation, tmp_path / "a", "p.nrrd", "p.seg.nrrd")
    write(tmp_path / "b", "p", image, labels)
    assert not imported(tmp_path / "a", {})[0].refused
    imported(tmp_path / "b")
    one, other = only(tmp_path / "a"), only(tmp_path / "b")
    assert one.labelled == other.labelled
    assert np.array_equal(one.labels, other.labels)


def test_names_of_segments_count_without_their_case_and_the_table_goes_first(
    tmp_path: Path,
) -> None:
    image, labels = painted(grid())
    names = {**NAMES, 11: "VERTEBRA L4", 15: "Tissue"}
    pair(image, as_slicer(labels, names), tmp_path, "p.mha", "p.seg.nrrd")
    done, _ = imported(tmp_path, {})
    assert "segments 11 (VERTEBRA L4), 15 (Tissue) have no known name" in done.refused[0]
    done, _ = imported(tmp_path, {"Vertebra l4": Target("l4"), "15": Target("aa")})
    assert len(done.imported) == 1
    assert {"l4", "aa"} <= set(only(tmp_path).labelled)
