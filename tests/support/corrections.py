"""Segmentations as viewers store them after a reader corrected ours: other numbers, names, codes and forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomseg.read import header as headers
from dicomseg.read.correction import Correction, Ours, Rejected, judge
from dicomseg.read.seg_labels import read_labels
from dicomseg.read.series import Grid, assemble
from dicomseg.structures import (
    ANATOMICAL_STRUCTURE,
    BY_ID,
    SEGMENTS,
    STRUCTURES,
    Code,
    Segment,
    StructureId,
)
from dicomseg.volume import Volume
from model.postprocess import split_sides
from tests.support.exported_study import BLOBS, SAGITTAL, blob, grid_of, write_mr
from tests.support.seg_objects import concept, save_seg, with_side

TISSUE: Final = Code("T-D0050", "SRT", "Tissue")
"""The code that OHIF writes as category and type of a segment whose own codes it does not hold."""


@dataclass(frozen=True)
class Viewer:
    """How a viewer writes segments. first: number of the first one; backwards: the last structure first."""

    kind: str = "BINARY"
    coded: bool = True
    named: bool = True
    backwards: bool = False
    syntax: str = ExplicitVRLittleEndian
    by: str = "MANUAL"


SLICER: Final = Viewer(named=False, backwards=True)
OHIF: Final = Viewer(coded=False)
OHIF_LABELMAP: Final = Viewer("LABELMAP", coded=False, backwards=True)
VIEWERS: Final = {"Slicer": SLICER, "OHIF": OHIF, "OHIF label map": OHIF_LABELMAP}


def describe(segment: Segment, number: int, viewer: Viewer) -> hd.seg.SegmentDescription:
    coded = viewer.coded
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label if viewer.named else f"Segment_{number}",
        segmented_property_category=concept(ANATOMICAL_STRUCTURE if coded else TISSUE),
        segmented_property_type=concept(segment.structure.code if coded else TISSUE),
        algorithm_type=viewer.by,
    )
    return with_side(made, segment.side) if coded else made


def store(
    file: Path,
    images: Sequence[Path],
    labels: Volume,
    viewer: Viewer = SLICER,
    *,
    left_out: Sequence[str] = (),
    change: Callable[[Dataset], None] = lambda _: None,
    masks: Mapping[int, Any] | None = None,
) -> Path:
    """Write a corrected SEG. labels: structure values on a grid of the series. left_out: structures without a segment.

    masks: replaces the voxels of segments, by their number in `SEGMENTS`.
    """
    sides = split_sides(labels)
    wanted = [s for s in SEGMENTS if s.structure.id not in left_out]
    wanted = wanted[::-1] if viewer.backwards else wanted
    return save_seg(
        file,
        images,
        [(masks or {}).get(s.number, sides.array == s.number) for s in wanted],
        labels.affine,
        [describe(s, n, viewer) for n, s in enumerate(wanted, start=1)],
        kind=viewer.kind,
        syntax=viewer.syntax,
        change=change,
    )


def only(*structures: StructureId) -> list[StructureId]:
    """Structures to leave out where a reader stores these alone."""
    return [s.id for s in STRUCTURES if s.id not in structures]


def shifted(labels: Volume, value: int, axis: int, by: int) -> Volume:
    """Move one structure by voxels; where it leaves, background, and over nothing else."""
    array = np.array(labels.array)
    moved = np.roll(array == value, by, axis)
    array[array == value] = 0
    array[moved & (array == 0)] = value
    return labels.with_array(array)


@dataclass(frozen=True)
class Desk:
    """A series with our labels, and a folder for what readers store."""

    folder: Path
    images: list[Path]
    grid: Grid
    ours: Volume

    def judge(
        self,
        path: Path,
        own: frozenset[str] = frozenset(),
        damage: Callable[[Dataset], None] = lambda _: None,
        earlier: Sequence[Path] = (),
    ) -> Correction | Rejected:
        ds, seg = dcmread(path), headers.read_instance(path)
        damage(ds)
        read = [read_labels(dcmread(p), self.grid) for p in earlier]
        return judge(ds, seg, self.grid, Ours(own, split_sides(self.ours).array), read)

    def corrected(self) -> Volume:
        return shifted(self.ours, BY_ID["aa"].value, 1, 1)

    def refused(self, **how: Any) -> Rejected:
        """Why an object is refused that is right but for what the arguments change."""
        labels, damage = how.pop("labels", self.corrected()), how.pop("damage", lambda _: None)
        path = store(self.folder / "wrong.dcm", self.images, labels, **how)
        found = self.judge(path, damage=damage)
        assert isinstance(found, Rejected), found
        return found


def segmented_series(folder: Path, directions: Any = SAGITTAL) -> Desk:
    """Write the images below a folder."""
    images = write_mr(folder / "mr", grid_of(directions))
    grid = assemble([headers.read_instance(p) for p in images])
    assert isinstance(grid, Grid)
    empty = Volume(np.zeros(grid.shape, np.uint8), grid.affine)
    array = np.zeros(grid.shape, np.uint8)
    for name in BLOBS:
        array[blob(empty, name)] = BY_ID[name.partition(".")[0]].value  # type: ignore[index]
    return Desk(folder, images, grid, empty.with_array(array))


@pytest.fixture(scope="session")
def series_at_desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return segmented_series(tmp_path_factory.mktemp("series"))


@pytest.fixture
def desk(series_at_desk: Desk, tmp_path: Path) -> Desk:
    """A small sagittal series with our labels, and an empty folder for what readers store."""
    return replace(series_at_desk, folder=tmp_path)
