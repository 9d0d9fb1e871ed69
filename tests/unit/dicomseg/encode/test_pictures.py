"""The page as image and PDF, and the surfaces, as DICOM objects that hold what was drawn."""

from __future__ import annotations

import copy
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from dicomseg.draw.drawing import Scene, draw_pictures, draw_surfaces
from dicomseg.draw.surface import is_closed
from dicomseg.encode import seg as seg_encoder
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.pictures import encode_pictures, heading, reading
from dicomseg.encode.uids import ResultKey
from dicomseg.segmentation import Labels
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume
from tests.support.meshes import mesh_of, read_stl, share_inside
from tests.support.pages import grey_volume, patient
from tests.support.studio import Studio

OBJECTS = ("summary.dcm", "report.dcm", "surface.dcm")


@cache
def inputs() -> EncodeInput:
    """The patient of closed form as a series with headers, its greys those of a T2 image."""
    seg, measured = patient()
    seg = with_frame(seg)
    studio = Studio(seg, measured)
    datasets = studio.slices()
    for ds in datasets:
        ds.PatientName, ds.PatientID = "Yamada^Tarou=山田^太郎", "P-7"
        ds.PatientBirthDate, ds.StudyDate = "19700102", "20300102"
        ds.SpecificCharacterSet, ds.StudyID = "ISO_IR 192", "1"
    made = studio.inputs(datasets)
    grey = Volume(grey_volume(seg).array, made.source.volume.affine)
    return replace(made, source=replace(made.source, volume=grey))


def with_frame(seg: Any) -> Any:
    """Labels and sides on the same grid as the source, which has no frame of reference before it is written."""
    labels = seg.labels
    volume = Volume(labels.volume.array, labels.volume.affine)
    return replace(
        seg,
        labels=Labels(volume, labels.analysed_mask),
        sides=Volume(seg.sides.array, seg.sides.affine),
    )


@cache
def files() -> dict[str, bytes]:
    return encode_pictures(inputs())


@cache
def later_files() -> dict[str, bytes]:
    """Those of a result that replaces `files`."""
    return encode_pictures(replace(inputs(), key=ResultKey("1" * 32), predecessor=inputs().key))


def read(name: str) -> Dataset:
    return pydicom.dcmread(BytesIO(files()[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_qualified_for_research_only(name: str) -> None:
    assert read(name).ContentQualification == "RESEARCH"


@pytest.mark.slow
def test_the_files_are_three_objects_and_the_surfaces() -> None:
    numbers = set(np.unique(inputs().segmentation.sides.array)) - {0}
    expected = {
        f"surfaces/{s.structure.id}{'' if s.side is None else '_' + s.side}.stl"
        for s in SEGMENTS
        if s.number in numbers
    }
    assert set(files()) == {*OBJECTS, *expected, "surfaces/all.glb"}


@pytest.mark.slow
def test_every_object_names_the_one_that_it_replaces() -> None:
    later = {name: pydicom.dcmread(BytesIO(later_files()[name])) for name in OBJECTS}
    (image,) = later["summary.dcm"].ReferencedImageSequence
    named = {"summary.dcm": image.ReferencedSOPInstanceUID}
    for name in OBJECTS[1:]:
        (item,) = later[name].PredecessorDocumentsSequence
        (series,) = item.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == read(name).SeriesInstanceUID
        named[name] = series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == {name: read(name).SOPInstanceUID for name in OBJECTS}


@pytest.mark.slow
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("name", OBJECTS)
def test_dciodvfy_has_nothing_against_an_object(name: str, later: bool, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy")
    path = tmp_path / name
    path.write_bytes((later_files() if later else files())[name])
    done = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    lines = (done.stdout + done.stderr).splitlines()
    # it knows neither Device UID of a contributing equipment nor private schemes, which name a predecessor's purpose
    known = ("UI Device UID", "Standard Extended SOP Class", "<99LUMBAR>", "Coding Scheme UID>")
    lines = [n for n in lines if n.startswith(("Error", "Warning"))]
    assert [n for n in lines if not any(k in n for k in known)] == []


@pytest.mark.slow
def test_the_objects_are_the_patients_in_series_of_their_own() -> None:
    made = [read(name) for name in OBJECTS]
    assert {str(ds.PatientID) for ds in made} == {"P-7"}
    assert {ds.StudyInstanceUID for ds in made} == {inputs().result.source.study}
    assert len({ds.SeriesInstanceUID for ds in made}) == 3
    assert len({ds.SOPInstanceUID for ds in made}) == 3
    assert len({ds.SeriesNumber for ds in made}) == 3
    texts = [ds.SeriesDescription for ds in made]
    assert ["planning page" in texts[0], "PDF" in texts[1], "surfaces" in texts[2]] == [True] * 3
    assert all(text.endswith("(research)") for text in texts)
    assert [ds.Modality for ds in made] == ["OT", "DOC", "M3D"]
    sources = [i.sop_instance_uid for i in inputs().source.grid.instances]
    for ds in made[1:]:
        assert [i.ReferencedSOPInstanceUID for i in ds.SourceInstanceSequence] == sources


@pytest.mark.slow
def test_the_image_holds_the_pixels_of_the_page_and_the_document_its_pdf() -> None:
    scene = Scene(inputs().source.volume, inputs().segmentation)
    page = draw_pictures(scene, reading(inputs(), "en"), draw_surfaces(scene))
    summary, report = read("summary.dcm"), read("report.dcm")
    assert np.array_equal(summary.pixel_array, page.rgb)
    assert summary.BurnedInAnnotation == "YES"
    assert report.EncapsulatedDocument[: report.EncapsulatedDocumentLength] == page.pdf
    assert report.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert report.DocumentTitle == page.title
    assert page.pdf.startswith(b"%PDF-1.")


@pytest.mark.slow
def test_the_surfaces_lie_where_the_segments_of_seg_dcm_are() -> None:
    """Inside and outside points of every segment, decoded from the object, in LPS."""
    content = to_bytes(seg_encoder.encode(inputs()))
    segments = hd.seg.Segmentation.from_dataset(pydicom.dcmread(BytesIO(content)))
    rng = np.random.default_rng(1)
    _, everything = read_stl(surface_document())
    start = 0
    present = [int(n) for n in np.unique(inputs().segmentation.sides.array) if n]
    for number in present:
        volume = segments.get_volume(segment_numbers=[number], combine_segments=False)
        mask = np.asarray(volume.array[..., 0] > 0)
        segment = SEGMENTS[number - 1]
        suffix = "" if segment.side is None else f"_{segment.side}"
        _, corners = read_stl(files()[f"surfaces/{segment.structure.id}{suffix}.stl"])
        assert np.array_equal(everything[start : start + len(corners)], corners)
        start += len(corners)
        mesh = mesh_of(corners)
        assert is_closed(mesh.faces)
        voxel_ml = float(np.abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
        assert mesh.volume_ml == pytest.approx(mask.sum() * voxel_ml, rel=0.02), segment.label
        inner = np.argwhere(ndimage.binary_erosion(mask))
        near = ndimage.binary_dilation(mask, iterations=2)
        outer = np.argwhere(ndimage.binary_dilation(near, iterations=2) & ~near)
        inside, outside = (
            share_inside(mesh, lps(volume.affine, rng.choice(p, 30))) for p in (inner, outer)
        )
        assert (inside, outside) == (1.0, 0.0), segment.label
    assert start == len(everything)


def lps(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def surface_document() -> bytes:
    ds = read("surface.dcm")
    assert ds.MIMETypeOfEncapsulatedDocument == "model/stl"
    assert ds.FrameOfReferenceUID == inputs().headers.frame_of_reference_uid
    assert ds.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    return bytes(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes() -> None:
    assert encode_pictures(inputs()) == files()


@pytest.mark.slow
def test_a_segmentation_without_surfaces_still_has_a_page() -> None:
    seg = inputs().segmentation
    empty = replace(seg, sides=seg.sides.with_array(np.zeros(seg.sides.shape, np.uint8)))
    assert set(encode_pictures(replace(inputs(), segmentation=empty), "de")) == {
        "summary.dcm",
        "report.dcm",
    }


def test_the_heading_is_read_from_the_cleaned_headers() -> None:
    head = heading(inputs())
    assert head.names == ("Yamada Tarou", "山田 太郎")
    assert (head.patient_id, head.born, head.study_date) == ("P-7", "1970-01-02", "2030-01-02")
    assert head.created.startswith("2030-01-02 03:04")
    assert "phantom 1" in head.model


def test_dates_that_are_none_are_left_out() -> None:
    headers = inputs().headers
    identity = copy.deepcopy(headers.identity)
    identity.PatientBirthDate, identity.StudyDate = "", None
    identity.PatientName = None
    head = heading(replace(inputs(), headers=replace(headers, identity=identity)))
    assert (head.born, head.study_date, head.names) == ("", "", ("",))
