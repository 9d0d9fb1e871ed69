"""Another form of a written segmentation: the bytes that encoding that form gives, and references that follow."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicomseg.encode import reform, seg
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.uids import ResultKey
from tests.support.seg_inputs import FORMS, TURNS, inputs_of, turned

BEFORE = ResultKey("1" * 32)


def changed(inputs: EncodeInput, name: str) -> EncodeInput:
    """The same with a gap between its slices, without voxels, or with a predecessor."""
    sides = inputs.segmentation.sides
    array = sides.array.copy()
    if name == "gap":
        array[8] = 0
    if name == "empty":
        array[:] = 0
    found = replace(inputs.segmentation, sides=sides.with_array(array))
    return replace(
        inputs, segmentation=found, predecessor=BEFORE if name == "predecessor" else None
    )


def reformed(content: bytes, form: Any, keys: list[ResultKey]) -> bytes:
    ds = pydicom.dcmread(BytesIO(content))
    if reform.kind_of(ds) != form.kind:
        reform.convert(ds, form.kind, reform.new_uids(form.kind, keys))
    if form.rle:
        reform.compress(ds)
    return to_bytes(ds)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("change", ["", "gap", "empty", "predecessor"])
@pytest.mark.parametrize("matrix", [(24, 40), (23, 41)], ids=str)
def test_a_converted_segmentation_has_the_bytes_of_an_encoded_one(
    studio: Any, name: str, change: str, matrix: tuple[int, int]
) -> None:
    inputs = changed(inputs_of(studio, *matrix), change)
    keys = [inputs.key, *([BEFORE] if change == "predecessor" else [])]
    stored = to_bytes(seg.encode(inputs))
    assert reformed(stored, FORMS[name], keys) == to_bytes(seg.encode(inputs, FORMS[name]))


@pytest.mark.parametrize("turn", TURNS[::9], ids=str)
def test_a_label_map_of_every_grid_has_the_bytes_of_an_encoded_one(studio: Any, turn: Any) -> None:
    inputs = turned(inputs_of(studio), *turn)
    stored = to_bytes(seg.encode(inputs))
    expected = to_bytes(seg.encode(inputs, FORMS["labelmap"]))
    assert reformed(stored, FORMS["labelmap"], [inputs.key]) == expected


def test_every_form_but_the_stored_one_has_a_uid_of_its_own(studio: Any) -> None:
    for matrix in ((24, 40), (23, 41)):
        inputs = inputs_of(studio, *matrix)
        uids = {n: str(seg.encode(inputs, f).SOPInstanceUID) for n, f in FORMS.items()}
        assert len({uids[n] for n in ("binary", "fractional", "labelmap")}) == 3
        assert uids["fractional, RLE"] == uids["fractional"]
        assert str(seg.encode(inputs).SOPInstanceUID) == inputs.key.uid("seg.instance")


def test_overlapping_segments_are_no_label_map(studio: Any) -> None:
    inputs = inputs_of(studio)
    ds = pydicom.dcmread(BytesIO(to_bytes(seg.encode(inputs))))
    frames = ds.pixel_array.copy()
    frames[:, 2, 2] = 1
    ds.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    with pytest.raises(ValueError, match="overlap"):
        reform.convert(ds, "labelmap", reform.new_uids("labelmap", [inputs.key]))


def references(ds: Dataset) -> list[tuple[str, str]]:
    """Classes and instances that a data set refers to, however deep."""
    out = []
    for element in ds:
        for item in element.value if element.VR == "SQ" else ():
            if "ReferencedSOPInstanceUID" in item:
                named = str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)
                out.append(named)
            out += references(item)
    return out


@pytest.mark.parametrize("kind", ["labelmap", "fractional"])
def test_the_report_of_volumes_names_the_segmentation_that_goes_with_it(
    studio: Any, kind: Any
) -> None:
    inputs = changed(inputs_of(studio), "predecessor")
    before = pydicom.dcmread(BytesIO(encode_all(inputs)["volumes.dcm"]))
    after = pydicom.dcmread(BytesIO(to_bytes(before)))
    reform.rename(after, kind, reform.new_uids(kind, [inputs.key, BEFORE]))
    expected = seg.encode(inputs, FORMS[kind])
    ours = str(expected.SOPClassUID), str(expected.SOPInstanceUID)
    old = inputs.key.uid("seg.instance")
    named = references(after)
    assert named.count(ours) == [uid for _, uid in references(before)].count(old) > 5
    assert old not in to_bytes(after).decode("latin-1")
    assert after.SOPInstanceUID == inputs.key.uid(f"volumes.{kind}.instance")
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    (study,) = after.CurrentRequestedProcedureEvidenceSequence
    series = [s.SeriesInstanceUID for s in study.ReferencedSeriesSequence]
    assert expected.SeriesInstanceUID in series
    (previous,) = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    (document,) = previous.ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == BEFORE.uid(f"volumes.{kind}.instance")
    assert document.ReferencedSOPClassUID == before.SOPClassUID
    assert previous.SeriesInstanceUID == BEFORE.uid(f"volumes.{kind}.series")


def test_nothing_else_of_the_report_changes(studio: Any) -> None:
    inputs = inputs_of(studio)
    content = encode_all(inputs)["volumes.dcm"]
    ds = pydicom.dcmread(BytesIO(content))
    uids = reform.new_uids("fractional", [inputs.key])
    reform.rename(ds, "fractional", uids)
    reform.rename(ds, "fractional", {new: old for old, new in uids.items()})
    assert to_bytes(ds) == content


def test_highdicom_reads_the_report_that_names_a_label_map(studio: Any) -> None:
    inputs = inputs_of(studio)
    ds = pydicom.dcmread(BytesIO(encode_all(inputs)["volumes.dcm"]))
    reform.rename(ds, "labelmap", reform.new_uids("labelmap", [inputs.key]))
    report = hd.sr.srread(BytesIO(to_bytes(ds)))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) > 5
    assert {g.referenced_segment.referenced_sop_class_uid for g in groups} == {
        reform.LABEL_MAP_STORAGE
    }


@pytest.mark.parametrize("name", ["midplane.dcm", "seg.dcm", "volumes.dcm"])
@pytest.mark.parametrize("matrix", [(24, 40), (23, 41)], ids=str)
def test_compressed_pixels_are_the_same_and_bits_and_reports_stay_as_they_are(
    studio: Any, name: str, matrix: tuple[int, int]
) -> None:
    content = encode_all(inputs_of(studio, *matrix))[name]
    ds = pydicom.dcmread(BytesIO(content))
    reform.compress(ds)
    compressed = to_bytes(ds)
    if name == "volumes.dcm" or (name == "seg.dcm" and matrix == (24, 40)):
        assert compressed == content
        return
    before, after = (pydicom.dcmread(BytesIO(c)) for c in (content, compressed))
    syntaxes = [str(d.file_meta.TransferSyntaxUID) for d in (before, after)]
    assert syntaxes == [str(ExplicitVRLittleEndian), str(RLELossless)]
    assert before.SOPInstanceUID == after.SOPInstanceUID
    assert np.array_equal(before.pixel_array, after.pixel_array)
    assert len(compressed) < len(content)
