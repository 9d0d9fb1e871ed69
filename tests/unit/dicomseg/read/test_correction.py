"""Corrections as viewers write them, on a small sagittal series, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicomseg.read import header as headers
from dicomseg.read.correction import Correction, Ours, Rejected, judge, read_references
from dicomseg.structures import BY_ID, SEGMENTS, STRUCTURES
from dicomseg.volume import Volume
from tests.support.corrections import OHIF, SLICER, VIEWERS, Desk, Viewer, store

pytestmark = pytest.mark.slow  # none of them alone, all of them together

WRITERS = VIEWERS | {
    "whole fractions": Viewer("FRACTIONAL"),
    "whole fractions, RLE": Viewer("FRACTIONAL", syntax=RLELossless),
    "label map, RLE": Viewer("LABELMAP", syntax=RLELossless),
}


@pytest.mark.parametrize("viewer", WRITERS.values(), ids=WRITERS)
def test_what_a_reader_drew_is_read_voxel_by_voxel(desk: Desk, viewer: Viewer) -> None:
    drawn = desk.corrected()
    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, drawn, viewer))
    assert isinstance(found, Correction), found
    assert np.array_equal(found.volume.array, drawn.array)
    numbers = {s.structure.id: set[int]() for s in SEGMENTS}
    for segment in SEGMENTS:
        number = len(SEGMENTS) + 1 - segment.number if viewer.backwards else segment.number
        numbers[segment.structure.id].add(number)
    assert {s: set(n) for s, n in found.segments.items()} == numbers
    assert found.unchanged == ()
    assert found.drawn == tuple(s.id for s in STRUCTURES)
    artery, disc = found.changes["aa"], found.changes["ivd"]
    assert artery.dice is not None
    assert 0.5 < artery.dice < 0.99
    assert (disc.dice, disc.before_ml) == (1.0, pytest.approx(disc.after_ml))


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_axes_of_the_frames_mean_nothing(desk: Desk, axes: tuple[int, int, int]) -> None:
    drawn = desk.corrected()
    towards = drawn.directions[:, list(axes)] @ np.diag([-1.0, 1.0, -1.0])
    turned = drawn.oriented(towards)
    turned = Volume(np.ascontiguousarray(turned.array), turned.affine)
    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, turned))
    assert isinstance(found, Correction), found
    assert np.array_equal(found.volume.array, drawn.array)


def test_a_part_of_the_field_of_view_is_enough(desk: Desk) -> None:
    drawn = desk.corrected()
    filled = np.argwhere(drawn.array)
    part = drawn.box(filled.min(axis=0), filled.max(axis=0) + 1)
    part = Volume(np.ascontiguousarray(part.array), part.affine)
    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, part))
    assert isinstance(found, Correction), found
    assert np.array_equal(found.volume.array, drawn.array)


def test_a_structure_without_a_segment_stays_and_one_without_voxels_goes(desk: Desk) -> None:
    drawn = desk.corrected()
    gone = np.where(drawn.array == BY_ID["ivc"].value, 0, drawn.array).astype(np.uint8)
    path = store(
        desk.folder / "seg.dcm", desk.images, drawn.with_array(gone), OHIF, left_out=("n4",)
    )
    found = desk.judge(path)
    assert isinstance(found, Correction), found
    assert found.unchanged == ("n4",)
    assert "n4" not in found.drawn
    assert found.changes["n4"].dice == 1.0
    assert found.changes["ivc"].dice == 0.0
    assert "ivc" in found.segments


def test_references_name_series_and_images(desk: Desk) -> None:
    path = store(desk.folder / "seg.dcm", desk.images, desk.corrected())
    named = read_references(dcmread(path))
    assert named.series == (desk.grid.instances[0].series_uid,)
    assert set(named.images) <= {i.sop_instance_uid for i in desk.grid.instances}
    assert named.images


# ---- what is no correction -----------------------------------------------------------------------


def test_our_own_labels_are_no_correction(desk: Desk) -> None:
    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, desk.ours))
    assert isinstance(found, Rejected)
    assert (found.code, found.is_correction) == ("unchanged-copy", False)


def test_our_own_uid_with_other_labels_is_refused(desk: Desk) -> None:
    path = store(desk.folder / "seg.dcm", desk.images, desk.corrected())
    found = desk.judge(path, frozenset({str(dcmread(path).SOPInstanceUID)}))
    assert isinstance(found, Rejected)
    assert (found.code, found.is_correction) == ("own-uid", True)


def _rename(ds: Dataset, numbers: range) -> None:
    for n in numbers:
        ds.SegmentSequence[n].SegmentLabel = "Doe^Jane"
        ds.SegmentSequence[n].SegmentedPropertyTypeCodeSequence[0].CodeValue = "113343008"


def test_another_segmentation_of_the_series_is_no_correction(desk: Desk) -> None:
    found = desk.refused(change=lambda ds: _rename(ds, range(len(SEGMENTS))))
    assert (found.code, found.is_correction) == ("other-segments", False)


def test_segments_of_a_viewers_own_are_named_by_number_alone(desk: Desk) -> None:
    found = desk.refused(change=lambda ds: _rename(ds, range(2, 4)))
    assert (found.code, found.is_correction) == ("unknown-segments", True)
    assert "segments 3, 4 are none" in found.text
    assert "Doe" not in found.text


# ---- what is wrong with it -----------------------------------------------------------------------


def _set(keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds, keyword, value)


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("PatientID", "PHANTOM-2", "other-patient"),
        ("StudyInstanceUID", "1.2.3.4", "other-study"),
        ("FrameOfReferenceUID", "1.2.3.4", "other-frame-of-reference"),
    ],
)
def test_what_contradicts_the_series_is_refused(
    desk: Desk, keyword: str, value: Any, code: str
) -> None:
    assert desk.refused(change=_set(keyword, value)).code == code


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("SegmentationType", "COLOUR", "unknown-kind"),
        ("NumberOfFrames", 10**7, "too-large"),
        ("Rows", 60000, "truncated-voxels"),
        ("Rows", 0, "no-frames"),
        ("NumberOfFrames", 3, "damaged-frames"),
        ("SegmentSequence", [], "other-segments"),
    ],
)
def test_what_contradicts_itself_is_refused_before_a_voxel_is_read(
    desk: Desk, keyword: str, value: Any, code: str
) -> None:
    assert desk.refused(damage=_set(keyword, value)).code == code


def test_an_absent_issuer_contradicts_none_and_another_one_does(desk: Desk) -> None:
    drawn = desk.corrected()

    def judged(own: str, theirs: str) -> Correction | Rejected:
        change = _set("IssuerOfPatientID", theirs)
        path = store(desk.folder / "seg.dcm", desk.images, drawn, change=change)
        image = desk.grid.instances[0]
        issued = replace(image, patient=(image.patient[0], own, *image.patient[2:]))
        grid = replace(desk.grid, instances=(issued, *desk.grid.instances[1:]))
        return judge(dcmread(path), headers.read_instance(path), grid, Ours(frozenset(), None))

    assert isinstance(judged("digest of an issuer", ""), Correction)
    found = judged("digest of an issuer", "HOSPITAL B")
    assert isinstance(found, Rejected)
    assert found.code == "other-patient"


@pytest.mark.parametrize(("by_mm", "refused"), [(0.05, False), (0.3, True)])
def test_voxels_have_to_be_those_of_the_series(desk: Desk, by_mm: float, refused: bool) -> None:
    drawn = desk.corrected()
    affine = drawn.affine.copy()
    affine[:3, 3] += (0, by_mm, 0)
    found = desk.judge(store(desk.folder / "seg.dcm", desk.images, Volume(drawn.array, affine)))
    assert isinstance(found, Rejected) == refused
    if isinstance(found, Rejected):
        assert (found.code, "up to 0.3 mm off" in found.text) == ("other-grid", True)


def test_another_spacing_and_a_place_outside_are_another_grid(desk: Desk) -> None:
    drawn = desk.corrected()
    finer = drawn.affine.copy()
    finer[:3, :3] *= 0.5
    outside = drawn.affine.copy()
    outside[:3, 3] += 40 * outside[:3, 0]
    for affine in (finer, outside):
        assert desk.refused(labels=Volume(drawn.array, affine)).code == "other-grid"


def test_overlapping_segments_are_named_with_their_slices(desk: Desk) -> None:
    drawn = desk.corrected()
    vein = drawn.array == BY_ID["ivc"].value
    artery = np.argwhere(drawn.array == BY_ID["aa"].value)[0]
    vein[tuple(artery)] = True
    number = next(s.number for s in SEGMENTS if s.structure.id == "ivc")
    found = desk.refused(labels=drawn, masks={number: vein})
    assert found.code == "overlapping-segments"
    assert f"slices {artery[0] + 1} (aa and ivc)" in found.text


def test_fractions_between_are_refused(desk: Desk) -> None:
    def soften(ds: Dataset) -> None:
        values = bytearray(ds.PixelData)
        values[values.index(255)] = 128
        ds.PixelData = bytes(values)

    assert desk.refused(viewer=Viewer("FRACTIONAL"), change=soften).code == "fractional-values"


def _cut(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:-100]


def _unplaced(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def _far(ds: Dataset) -> None:
    place = ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    place.ImagePositionPatient = ["1e300", "-1e300", "0"]


def _oblique(ds: Dataset) -> None:
    plane = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = ["0", "1", "0", "0", "1", "0"]


def _numbered_twice(ds: Dataset) -> None:
    ds.SegmentSequence[1].SegmentNumber = 1


def _undescribed(ds: Dataset) -> None:
    del ds.SegmentSequence[1]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_cut, "truncated-voxels"),
        (_unplaced, "unplaced-frames"),
        (_far, "unplaced-frames"),
        (_oblique, "other-grid"),
        (_numbered_twice, "damaged-frames"),
        (_undescribed, "damaged-frames"),
    ],
)
def test_damage_is_refused(desk: Desk, damage: Callable[[Dataset], None], code: str) -> None:
    assert desk.refused(damage=damage).code == code


def test_no_case_can_be_made_without_disc_or_of_exchanged_labels(desk: Desk) -> None:
    drawn = desk.corrected()
    gone = np.where(drawn.array == BY_ID["ivd"].value, 0, drawn.array).astype(np.uint8)
    assert desk.refused(labels=drawn.with_array(gone)).code == "no-disc"
    assert desk.refused(labels=drawn.with_array(np.zeros_like(gone))).code == "nothing-drawn"
    sides = {s.number: s for s in SEGMENTS if s.structure.id == "pm"}
    x = drawn.to_patient(np.stack(np.indices(drawn.shape), axis=-1))[..., 0]
    muscle = drawn.array == BY_ID["pm"].value
    middle = float(x[muscle].mean())
    exchanged = {n: muscle & ((x > middle) == (s.side == "right")) for n, s in sides.items()}
    found = desk.refused(masks=exchanged, viewer=SLICER)
    assert (found.code, "left pm" in found.text) == ("sides-exchanged", True)
    turned = np.array(drawn.array)
    upper, lower = (drawn.array == BY_ID[s].value for s in ("l4", "l5"))
    turned[upper], turned[lower] = BY_ID["l5"].value, BY_ID["l4"].value
    assert desk.refused(labels=drawn.with_array(turned)).code == "upside-down"
