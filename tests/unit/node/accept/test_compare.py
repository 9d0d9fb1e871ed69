"""What an archive did to an object is found, and weighed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.accept.compare import Change, compare_elements, compare_pixels, document


@pytest.fixture
def sent() -> Dataset:
    ds = Dataset()
    ds.SOPInstanceUID, ds.PatientName, ds.PatientID = "1.2.3", "ACCEPTANCE^TEST", "A"
    ds.ImagePositionPatient = ["-69.0123456789", "12.5", "3"]
    ds.PixelSpacing, ds.SequenceName, ds.Rows = [0.75, 0.75], "*spcR3d1_100", 320
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.9"
    ds.ReferencedImageSequence = [item]
    ds.private_block(0x0029, "LUMBAR", create=True).add_new(1, "LO", "kept")
    return ds


def changed(sent: Dataset, **values: Any) -> tuple[Change, ...]:
    got = copy.deepcopy(sent)
    for keyword, value in values.items():
        if value is None:
            delattr(got, keyword)
        else:
            setattr(got, keyword, value)
    return compare_elements(sent, got)


def test_an_equal_object_has_no_changes_nor_one_whose_values_are_written_otherwise(
    sent: Dataset,
) -> None:
    assert changed(sent) == ()
    assert changed(sent, PatientName="ACCEPTANCE^TEST^^", PixelSpacing=["0.750", "7.5e-1"]) == ()


@pytest.mark.parametrize(
    ("values", "path", "kind", "weight"),
    [
        ({"ImagePositionPatient": ["-69.01", "12.5", "3"]}, "ImagePositionPatient", "changed", "grave"),
        ({"SequenceName": None}, "SequenceName", "removed", "grave"),
        ({"SOPInstanceUID": "1.2.4"}, "SOPInstanceUID", "changed", "grave"),
        ({"LossyImageCompression": "01"}, "LossyImageCompression", "added", "grave"),
        ({"PatientID": "B"}, "PatientID", "changed", "coerced"),
        ({"IssuerOfPatientID": "HOSPITAL"}, "IssuerOfPatientID", "added", "coerced"),
        ({"AccessionNumber": "7"}, "AccessionNumber", "added", "coerced"),
        ({"ImageComments": "seen"}, "ImageComments", "added", "coerced"),
    ],
)  # fmt: skip
def test_changes_are_weighed_by_what_depends_on_them(
    sent: Dataset, values: dict[str, Any], path: str, kind: str, weight: str
) -> None:
    (change,) = changed(sent, **values)
    assert (change.path, change.kind, change.weight) == (path, kind, weight)


def test_rounding_says_by_how_much(sent: Dataset) -> None:
    (change,) = changed(sent, ImagePositionPatient=["-69.01", "12.5", "3"])
    assert change.by == pytest.approx(0.0023456789)
    assert change.text == "ImagePositionPatient changed by up to 0.0023"


def test_a_reference_in_an_item_is_grave_and_a_private_element_is_not(sent: Dataset) -> None:
    got = copy.deepcopy(sent)
    got.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.10"
    got.remove_private_tags()
    changes = {c.path: c.weight for c in compare_elements(sent, got)}
    assert changes["ReferencedImageSequence[1].ReferencedSOPInstanceUID"] == "grave"
    assert {w for p, w in changes.items() if p.startswith("(0029")} == {"private"}


def test_a_private_element_that_comes_back_as_bytes_is_the_same(sent: Dataset) -> None:
    got = copy.deepcopy(sent)
    del got[0x0029, 0x1001]
    got.add_new((0x0029, 0x1001), "UN", b"kept")
    assert compare_elements(sent, got) == ()


# ---- pixels --------------------------------------------------------------------------------------

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def test_equal_pixels_have_no_difference() -> None:
    assert compare_pixels(PIXELS, PIXELS.copy()) is None


def test_one_other_value_is_found_without_wrapping_around() -> None:
    got = PIXELS.copy()
    got[1, 2] = 5
    difference = compare_pixels(PIXELS, got)
    assert difference is not None
    assert (difference.different, difference.of, difference.largest) == (1, 12, 1.0)


@pytest.mark.parametrize(
    ("axes", "name"), [(1, "columns"), (0, "rows"), ((0, 1), "rows and columns")]
)
def test_a_mirrored_image_is_named(axes: Any, name: str) -> None:
    difference = compare_pixels(PIXELS, np.flip(PIXELS, axes))
    assert difference is not None
    assert difference.text == f"{name} in reverse order"


def test_another_shape_differs_everywhere() -> None:
    difference = compare_pixels(PIXELS, PIXELS[:2])
    assert difference is not None
    assert difference.different == difference.of == 12


def test_the_byte_that_makes_a_document_even_is_no_part_of_it() -> None:
    ds = Dataset()
    assert document(ds) == b""
    ds.EncapsulatedDocument, ds.EncapsulatedDocumentLength = b"abc\0", 3
    assert document(ds) == b"abc"
