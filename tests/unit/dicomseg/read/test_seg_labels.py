"""Segmentations as OHIF, 3D Slicer and other viewers store them, voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.read.correction import Correction, Rejected
from dicomseg.read.seg_errors import SegRefused
from dicomseg.read.seg_labels import read_labels
from dicomseg.structures import BY_ID, SEGMENTS, STRUCTURES
from dicomseg.volume import Volume
from model.postprocess import split_sides
from tests.support.corrections import (
    SLICER,
    TISSUE,
    Desk,
    Viewer,
    describe,
    segmented_series,
    store,
)
from tests.support.seg_objects import concept, save_seg
from tests.support.viewers import FORMS, Change, dcmqi, ohif, without_empty_segments

pytestmark = pytest.mark.slow  # none of them alone, all of them together

NAMED = Viewer()


@pytest.fixture(scope="module")
def oblique(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Slices that are turned about two axes of the patient, as those of a scoliosis."""
    turned = [[0.966, -0.2241, 0.1294], [0.1294, -0.0, -0.9916], [0.2241, 0.9746, 0.0292]]
    return segmented_series(tmp_path_factory.mktemp("oblique"), np.linalg.qr(np.array(turned))[0])


@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS)
def test_what_viewers_change_changes_no_voxel(desk: Desk, change: Change) -> None:
    drawn = desk.corrected()
    path = store(desk.folder / "seg.dcm", desk.images, drawn, NAMED, change=change)
    found = desk.judge(path)
    assert isinstance(found, Correction), found
    assert np.array_equal(found.volume.array, drawn.array)
    assert found.drawn == tuple(s.id for s in STRUCTURES)


@pytest.mark.parametrize("change", [ohif, dcmqi])
def test_digits_that_viewers_drop_move_nothing(
    oblique: Desk, tmp_path: Path, change: Change
) -> None:
    drawn = oblique.corrected()
    found = oblique.judge(store(tmp_path / "seg.dcm", oblique.images, drawn, NAMED, change=change))
    assert isinstance(found, Correction), found
    assert np.array_equal(found.volume.array, drawn.array)


def test_an_empty_segment_that_a_viewer_leaves_out_stays_as_in_the_result(desk: Desk) -> None:
    drawn = desk.corrected()
    gone = drawn.with_array(np.where(drawn.array == BY_ID["ivc"].value, 0, drawn.array).astype(np.uint8))  # fmt: skip
    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, gone, NAMED, change=without_empty_segments))  # fmt: skip
    assert isinstance(found, Correction), found
    assert (found.unchanged, found.changes["ivc"].dice) == (("ivc",), 1.0)


def test_a_box_about_the_segments_and_beyond_the_series_is_read(desk: Desk) -> None:
    """3D Slicer stores the box of what is drawn; one with a margin may reach outside the images."""
    drawn = desk.corrected()
    padded = np.pad(drawn.array, 3)
    affine = drawn.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (3, 3, 3)
    path = store(desk.folder / "seg.dcm", desk.images, Volume(padded, affine), change=dcmqi)
    found = desk.judge(path)
    assert isinstance(found, Correction), found
    assert np.array_equal(found.volume.array, drawn.array)


def test_both_sides_in_one_segment_are_divided(desk: Desk) -> None:
    sides = split_sides(desk.ours).array
    muscle = [s.number for s in SEGMENTS if s.structure.id == "pm"]
    one = describe(SEGMENTS[muscle[0] - 1], 1, SLICER)
    del one.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    one.SegmentLabel = "Psoas major"
    path = save_seg(desk.folder / "pm.dcm", desk.images, [np.isin(sides, muscle)], desk.grid.affine, [one])  # fmt: skip
    found = read_labels(dcmread(path), desk.grid)
    assert found.described == frozenset(muscle)
    assert np.array_equal(found.numbers, np.where(np.isin(sides, muscle), sides, 0))


def test_one_structure_in_two_segments_is_put_together(desk: Desk) -> None:
    vein = desk.ours.array == BY_ID["ivc"].value
    upper = vein & (np.indices(vein.shape)[1] > 25)
    segment = next(s for s in SEGMENTS if s.structure.id == "ivc")
    made = [describe(segment, n, SLICER) for n in (1, 2)]
    path = save_seg(desk.folder / "ivc.dcm", desk.images, [upper, vein & ~upper], desk.grid.affine, made)  # fmt: skip
    assert np.array_equal(read_labels(dcmread(path), desk.grid).labels > 0, vein)


def test_a_label_map_with_a_background_segment_is_read(desk: Desk) -> None:
    drawn = desk.corrected()
    path = store(desk.folder / "seg.dcm", desk.images, drawn, Viewer("LABELMAP"))
    ds = dcmread(path)
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    if not any(int(i.SegmentNumber) == 0 for i in ds.SegmentSequence):
        background = Dataset()
        background.SegmentNumber, background.SegmentLabel = 0, "Background"
        background.SegmentedPropertyTypeCodeSequence = [concept(TISSUE)]
        ds.SegmentSequence.insert(0, background)
    assert np.array_equal(read_labels(ds, desk.grid).labels, drawn.array)


def test_names_with_what_a_reader_added_are_refused_by_number(desk: Desk) -> None:
    def numbered(ds: Dataset) -> None:
        ohif(ds)
        ds.SegmentSequence[3].SegmentLabel = "Dural sac (Doe)"

    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, desk.corrected(), NAMED, change=numbered))  # fmt: skip
    assert isinstance(found, Rejected)
    assert (found.code, "segments 4 are" in found.text) == ("unknown-segments", True)
    with pytest.raises(SegRefused, match="none of the eight"):
        read_labels(dcmread(desk.folder / "seg.dcm"), desk.grid)
