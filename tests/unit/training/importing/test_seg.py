"""SEGs as people draw them in viewers: every segment coded as tissue, one painted over another."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomseg.structures import BY_ID
from tests.support.exported_study import (
    BLOBS,
    ORIGIN,
    all_masks,
    grid_of,
    imported,
    write_mr,
    write_seg,
)
from training.data.cases import list_cases_in, load_case
from training.importing.importer import ImportSummary
from training.importing.label_table import Target

AXIAL = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
NAMES = {"l4": "L4", "ivd": "Disc L4/5", "l5": "L5"}


def _as_tissue(ds: Dataset) -> None:
    """Name the segments by their labels alone, as OHIF does."""
    for segment, name in zip(ds.SegmentSequence, NAMES.values(), strict=True):
        segment.SegmentLabel = name
        for kind in (
            segment.SegmentedPropertyCategoryCodeSequence[0],
            segment.SegmentedPropertyTypeCodeSequence[0],
        ):
            kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "85756007", "SCT", "Tissue"  # fmt: skip


def test_segments_coded_as_tissue_are_named_by_the_table_whatever_their_case(
    tmp_path: Path,
) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    write_seg(tmp_path / "in" / "seg.dcm", images, all_masks(grid, list(NAMES)), grid, change=_as_tissue)  # fmt: skip
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert done.refused[0].startswith(
        "seg.dcm: rule known-labels: segments 2 (Disc L4/5) have neither a known code nor a known name"
    )
    table = {name.lower(): Target(structure) for structure, name in NAMES.items()}
    done, _ = imported(tmp_path / "in", tmp_path / "out", table)
    assert done.refused == ()
    case = load_case(list_cases_in(tmp_path / "out")[0])
    assert case.labelled == ("l4", "ivd", "l5")
    for name in NAMES:
        ijk = np.argwhere(case.labels == BY_ID[name].value)
        centre = (ijk @ case.affine[:3, :3].T + case.affine[:3, 3]).mean(axis=0)
        assert centre == pytest.approx(ORIGIN + BLOBS[name][0], abs=1.5)


def _painted(folder: Path, least_mm: float) -> tuple[ImportSummary, list[str]]:
    """Import a SEG whose L4 is drawn over the disc above a height, in mm above the disc's lower end."""
    grid = grid_of(AXIAL, (1.0, 3.0, 3.0))
    images = write_mr(folder / "in", grid)
    masks = all_masks(grid, ("l4", "ivd", "l5"))
    (_, _, centre), (_, _, half) = BLOBS["ivd"]
    height = (grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)) - ORIGIN)[..., 2]
    masks["l4"] |= masks["ivd"] & (height > centre - half + least_mm)
    write_seg(folder / "in" / "seg.dcm", images, masks, grid)
    return imported(folder / "in", folder / "out")


@pytest.mark.parametrize("least_mm", [-1.0, 4.0])
def test_a_disc_that_another_segment_is_painted_over_is_refused(
    tmp_path: Path, least_mm: float
) -> None:
    done, _ = _painted(tmp_path, least_mm)
    assert done.imported == ()
    assert re.match(
        r"seg\.dcm: rule overlap: l4 and ivd are drawn over each other in \d\.\d ml, \d+% of ivd; correct one",
        done.refused[0],
    )


def test_a_seam_painted_twice_is_noted_and_the_case_taken(tmp_path: Path) -> None:
    done, notes = _painted(tmp_path, 8.5)
    assert len(done.imported) == 1
    assert any(
        re.search(r"l4 and ivd are drawn over each other in \d\.\d ml, [12]?\d% of ivd", n)
        for n in notes
    )
