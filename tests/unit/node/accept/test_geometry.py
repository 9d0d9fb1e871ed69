"""Left and right are proved with the labels of the phantom."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from dicomseg.structures import BY_ID, SEGMENTS
from dicomseg.volume import Points, Volume
from node.accept import geometry

AFFINE = np.array(
    [[0.0, 0.0, 2.0, -40.0], [0.0, 2.0, 0.0, -40.0], [2.0, 0.0, 0.0, -20.0], [0, 0, 0, 1.0]]
)


@pytest.fixture
def labels() -> Volume:
    array = np.zeros((20, 40, 40), np.uint8)
    array[:, 10:20, 14:26] = BY_ID["l4"].value
    array[:, 4:9, 18:30] = BY_ID["aa"].value
    array[:, 28:33, 8:22] = BY_ID["ivc"].value
    return Volume(array, AFFINE)


def grey(labels: Volume) -> Volume:
    table = np.zeros(9)
    table[[BY_ID["l4"].value, BY_ID["aa"].value, BY_ID["ivc"].value]] = 500.0, 60.0, 300.0
    table[0] = 150.0
    noise = np.random.default_rng(1).normal(0.0, 20.0, labels.array.shape)
    return Volume(table[labels.array] + noise, labels.affine)


def test_the_phantom_fits_and_its_mirror_image_does_not(
    labels: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "STEP", 1)
    image = grey(labels)
    fit = geometry.fit_sides(image, labels)
    assert fit.right
    mirrored = geometry.fit_sides(Volume(image.array[:, :, ::-1].copy(), image.affine), labels)
    assert not mirrored.right
    assert mirrored.mirrored == pytest.approx(fit.as_is, abs=0.02)


def test_a_header_that_turns_the_image_is_found(
    labels: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "STEP", 1)
    turned = AFFINE.copy()
    turned[0] = [0.0, 0.0, -2.0, 38.0]
    assert not geometry.fit_sides(Volume(grey(labels).array, turned), labels).right


def frames(masks: dict[int, Points]) -> Dataset:
    """A segmentation of one frame per segment, 1 mm, at z = number."""
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pixels = np.stack(list(masks.values()))
    seg.NumberOfFrames, seg.Rows, seg.Columns = pixels.shape
    seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.PixelRepresentation = 8, 8, 7, 0
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.PixelData = pixels.tobytes()
    seg.SOPClassUID, seg.MaximumFractionalValue = SegmentationStorage, 255
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.0, 1.0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    seg.SharedFunctionalGroupsSequence = [shared]
    items = []
    for number in masks:
        item, position, segment = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [10.0, 20.0, float(number)]
        segment.ReferencedSegmentNumber = number
        item.PlanePositionSequence, item.SegmentIdentificationSequence = [position], [segment]
        items.append(item)
    seg.PerFrameFunctionalGroupsSequence = items
    return seg


def mask(column: int) -> Points:
    array = np.zeros((6, 8), np.uint8)
    array[2:4, column] = 255
    return array


def test_voxels_of_a_segment_lie_where_its_frames_say() -> None:
    left = next(s for s in SEGMENTS if s.structure.id == "pm" and s.side == "left")
    right = next(s for s in SEGMENTS if s.structure.id == "pm" and s.side == "right")
    masks = {left.number: mask(6), right.number: mask(1)}
    seg = frames(masks)
    points = geometry.segment_points(seg)
    assert points[left.number].tolist() == [[16.0, 22.0, left.number], [16.0, 23.0, left.number]]
    assert geometry.sides_swapped(points) == ()
    assert geometry.sides_swapped(
        {left.number: points[right.number], right.number: points[left.number]}
    ) == ("Psoas major",)
    assert geometry.structure_centres(points)["pm"][0] == pytest.approx(13.5)


def test_true_centres_are_of_the_heights_that_the_segmentation_covers(labels: Volume) -> None:
    assert set(geometry.true_centres(labels, (-20.0, 20.0))) == {"l4", "aa", "ivc"}
    assert geometry.true_centres(labels, (100.0, 120.0)) == {}
