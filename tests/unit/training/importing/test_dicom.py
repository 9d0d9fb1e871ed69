from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.series import assemble
from dicomseg.structures import BY_ID
from tests.support.exported_study import (
    BLOBS,
    ORIGIN,
    SAGITTAL,
    all_masks,
    blob,
    grid_of,
    imported,
    write_mr,
    write_seg,
)
from training.data.cases import Case, list_cases_in, load_case
from training.errors import ImportRefused, SourceMissing
from training.importing.dicom import CONTOURS
from training.importing.label_table import Target

pytestmark = pytest.mark.slow  # none of them alone, all of them together

SPINE = ("l4", "ivd", "l5")
AXIAL = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
TILTED = SAGITTAL @ np.array([[0.98, 0.199, 0], [-0.199, 0.98, 0], [0, 0, 1]])


def centre_of(case: Case, name: str) -> np.ndarray[Any, Any]:
    """Centre of a label in LPS mm; of a paired one, on the side of the named blob."""
    structure, _, side = name.partition(".")
    ijk = np.argwhere(case.labels == BY_ID[structure].value)  # type: ignore[index]
    points = ijk @ case.affine[:3, :3].T + case.affine[:3, 3]
    if side:
        middle = ORIGIN[0] + 4
        points = points[(points[:, 0] > middle) == (side == "left")]
    return np.asarray(points.mean(axis=0))


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, TILTED], ids=["axial", "sagittal", "tilt"])
def test_every_label_keeps_its_place_in_the_patient(tmp_path: Path, directions: Any) -> None:
    grid = grid_of(directions)
    images = write_mr(tmp_path / "in", grid)
    # the SEG has its own grid: reversed slices, other spacing, another corner
    flipped = grid_of(directions @ np.diag([-1.0, 1.0, 1.0]), (1.7, 1.25, 1.25))
    write_seg(tmp_path / "in" / "seg.dcm", images, all_masks(flipped), flipped)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert not done.refused
    case = load_case(list_cases_in(tmp_path / "out")[0])
    for name, (centre, _) in BLOBS.items():
        assert centre_of(case, name) == pytest.approx(ORIGIN + centre, abs=1.0), name
    assert case.labelled == tuple(BY_ID)
    assert case.level_centre_lps == pytest.approx(tuple(ORIGIN + BLOBS["ivd"][0]), abs=1.0)
    assert case.level_normal[2] > 0.9
    # image and labels share one space: each blob was painted in its own grey
    for n, name in enumerate(BLOBS):
        ijk = np.linalg.inv(case.affine) @ [*(ORIGIN + BLOBS[name][0]), 1]
        i, j, k = np.rint(ijk[:3]).astype(int)
        assert case.image[i, j, k] == pytest.approx(140 + 60 * n, abs=25), name


def test_volumes_survive_the_resampling(exported: Path, tmp_path: Path) -> None:
    imported(exported, tmp_path / "out")
    case = load_case(list_cases_in(tmp_path / "out")[0])
    voxel = abs(np.linalg.det(case.affine[:3, :3]))
    for name in ("l4", "ivd", "l5", "dura", "aa", "ivc"):
        grid = grid_of(SAGITTAL)
        true = blob(grid, name).sum() * abs(np.linalg.det(grid.affine[:3, :3]))
        assert (case.labels == BY_ID[name].value).sum() * voxel == pytest.approx(true, rel=0.08)  # type: ignore[index]


def test_nothing_of_the_patient_is_left(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done, _ = imported(exported, out, keep_dicom=True)
    source = dcmread(next((exported / "mr").iterdir()))
    found = re.compile(
        rb"PHANTOM-000001|Phantom\^|SYN000001|Doe\^Jane|20240110|Synthetic|SIEMENS CSA|SN-4711|reader"
    )
    uids = [
        str(source[k].value).encode()
        for k in (
            "StudyInstanceUID",
            "SeriesInstanceUID",
            "SOPInstanceUID",
            "FrameOfReferenceUID",
        )
    ]
    for file in (p for p in out.rglob("*") if p.is_file()):
        raw = file.read_bytes()
        assert not found.search(raw), (file.name, found.search(raw))
        assert not any(uid in raw for uid in uids), file.name
    card = json.loads((out / f"{done.imported[0]}.json").read_text())
    assert re.fullmatch(r"P-[0-9a-f]{16}", card["patient_id"])
    assert card["card"]["licence"] == "CC BY 4.0"
    assert card["card"]["labels_by"] == "manual"


def test_kept_objects_are_still_a_series_with_its_seg(exported: Path, tmp_path: Path) -> None:
    imported(exported, tmp_path / "out", keep_dicom=True)
    kept = next((tmp_path / "out" / "dicom").iterdir())
    again, _ = imported(kept, tmp_path / "again")
    assert len(again.imported) == 1
    first, second = (load_case(list_cases_in(tmp_path / n)[0]) for n in ("out", "again"))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.image, second.image)
    read = [headers.read_instance(p) for p in kept.iterdir()]
    grid = assemble([i for i in read if i.echo_time_ms])
    assert not isinstance(grid, GeometryProblem)
    assert grid.shape == grid_of(SAGITTAL).shape


def test_the_manifest_says_what_was_made_of_what(exported: Path, tmp_path: Path) -> None:
    imported(exported, tmp_path)
    read = json.loads((tmp_path / "manifest.json").read_text())
    entry = read["cases"][0]
    assert entry["source"] == "dicom"
    assert entry["licence"] == "CC BY 4.0"
    assert entry["imported"] == "2026-11-23"
    assert entry["labelled"] == list(BY_ID)
    assert set(entry["files"]) == {f"{entry['case']}.npz", f"{entry['case']}.json"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", d) for d in entry["files"].values())


def test_the_same_patient_has_one_pseudonym_and_another_secret_another(
    tmp_path: Path,
) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    for n, seed in enumerate((1, 2, 3)):
        images = write_mr(tmp_path / "in" / str(n), grid, seed, PatientID="A" if n < 2 else "B")
        write_seg(tmp_path / "in" / str(n) / "seg.dcm", images, all_masks(grid, SPINE), grid)
    imported(tmp_path / "in", tmp_path / "one")
    imported(tmp_path / "in", tmp_path / "two")
    names = [
        sorted(load_case(p).patient_id for p in list_cases_in(tmp_path / n)) for n in ("one", "two")
    ]
    assert [len(n) for n in names] == [3, 3]
    assert [len(set(n)) for n in names] == [2, 2]
    assert not set(names[0]) & set(names[1])
    assert stat.S_IMODE((tmp_path / "one" / "pseudonym.key").stat().st_mode) == 0o600
    assert "pseudonym.key" in (tmp_path / "one" / ".gitignore").read_text().splitlines()


def test_a_second_run_keeps_existing_cases_and_rebuilds_missing_ones(
    exported: Path, tmp_path: Path
) -> None:
    first, _ = imported(exported, tmp_path)
    written = (tmp_path / f"{first.imported[0]}.npz").stat().st_mtime_ns
    second, _ = imported(exported, tmp_path)
    assert (second.imported, second.existing) == ((), first.imported)
    assert (tmp_path / f"{first.imported[0]}.npz").stat().st_mtime_ns == written
    # as if killed between the case and the manifest, with half a file left
    (tmp_path / "manifest.json").unlink()
    (tmp_path / f"{first.imported[0]}.npz").write_bytes(b"PK\x03\x04")
    third, _ = imported(exported, tmp_path)
    assert third.imported == first.imported
    load_case(list_cases_in(tmp_path)[0])
    (tmp_path / f"{first.imported[0]}.npz").write_bytes(b"PK\x03\x04")  # damaged later
    assert imported(exported, tmp_path)[0].imported == first.imported


def test_the_same_image_under_other_uids_is_refused_as_a_duplicate(
    exported: Path, tmp_path: Path
) -> None:
    grid = grid_of(SAGITTAL)
    copy = write_mr(tmp_path / "in", grid, PatientID="OTHER", SeriesInstanceUID=hd.UID())
    for file in copy:
        ds = dcmread(file)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = hd.UID()
        ds.save_as(file, enforce_file_format=True)
    write_seg(tmp_path / "in" / "seg.dcm", copy, all_masks(grid, SPINE), grid)
    first, _ = imported(exported, tmp_path / "out")
    second, _ = imported(tmp_path / "in", tmp_path / "out")
    assert second.imported == ()
    assert re.search(rf"seg\.dcm: rule duplicate: .*{first.imported[0]}", second.refused[0])


def _other_frame(ds: Dataset) -> None:
    ds.FrameOfReferenceUID = hd.UID()


def _other_series(ds: Dataset) -> None:
    ds.ReferencedSeriesSequence[0].SeriesInstanceUID = hd.UID()


def _other_patient(ds: Dataset) -> None:
    ds.PatientID = "SOMEBODY"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_other_frame, r"rule frame-of-reference: seg\.dcm and \d+\.dcm"),
        (_other_series, "rule one-series: 0 MR series"),
        (_other_patient, r"rule one-patient: seg\.dcm and \d+\.dcm"),
    ],
)
def test_a_seg_of_something_else_is_refused(
    tmp_path: Path, change: Callable[[Dataset], None], rule: str
) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    write_seg(tmp_path / "in" / "seg.dcm", images, all_masks(grid, SPINE), grid, change=change)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert done.imported == ()
    assert re.match(rf"seg\.dcm: {rule}", done.refused[0])


@pytest.mark.parametrize("patient", ["", "   "])
def test_a_case_without_patient_id_is_refused(tmp_path: Path, patient: str) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid, PatientID=patient)
    write_seg(tmp_path / "in" / "seg.dcm", images, all_masks(grid, SPINE), grid)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert done.refused[0].startswith("seg.dcm: rule patient-id")


def test_mirrored_and_upside_down_labels_are_refused(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    for name, swapped in (("m", ("pm.left", "pm.right")), ("u", ("l4", "l5"))):
        masks = all_masks(grid)
        masks[swapped[0]], masks[swapped[1]] = masks[swapped[1]], masks[swapped[0]]
        file = write_seg(tmp_path / "in" / f"{name}.dcm", images, masks, grid)
        done, _ = imported(tmp_path / "in", tmp_path / "out")
        assert re.search({"m": "rule sides: pm.left", "u": "rule order"}[name], done.refused[0])
        file.unlink()


def test_foreign_segments_need_the_table(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    masks = all_masks(grid, SPINE)
    masks["kidney"], masks["sac"] = blob(grid, "pm.left"), blob(grid, "dura")
    write_seg(tmp_path / "in" / "seg.dcm", images, masks, grid)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert "segments 4 (label kidney), 5 (label sac)" in done.refused[0]
    table = {"4": Target(None), "label sac": Target("dura")}
    done, _ = imported(tmp_path / "in", tmp_path / "out", table)
    case = load_case(list_cases_in(tmp_path / "out")[0])
    assert case.labelled == ("l4", "ivd", "l5", "dura")
    assert centre_of(case, "dura") == pytest.approx(ORIGIN + BLOBS["dura"][0], abs=1.5)
    assert not (case.labels == BY_ID["pm"].value).any()


def test_one_side_alone_is_not_taken_for_both(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    masks = all_masks(grid, ("l4", "ivd", "l5", "pm.left"))
    write_seg(tmp_path / "in" / "seg.dcm", images, masks, grid)
    _, notes = imported(tmp_path / "in", tmp_path / "out")
    case = load_case(list_cases_in(tmp_path / "out")[0])
    assert "pm" not in case.labelled
    assert not (case.labels == BY_ID["pm"].value).any()
    assert notes[1:] == ["seg.dcm: pm.left without the other side is not used"]


def test_segs_of_one_series_are_put_together_unless_they_repeat(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in" / "mr", grid)
    for n, names in enumerate((("l4", "ivd"), ("l5", "dura"))):
        write_seg(tmp_path / f"in/{n}/seg.dcm", images, all_masks(grid, names), grid)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert load_case(list_cases_in(tmp_path / "out")[0]).labelled == ("l4", "ivd", "l5", "dura")
    assert not done.refused
    write_seg(tmp_path / "in/2/seg.dcm", images, all_masks(grid, ("ivd",)), grid)
    done, _ = imported(tmp_path / "in", tmp_path / "more")
    assert "both hold ivd" in done.refused[0]


def test_who_drew_the_labels_is_noted(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    write_seg(tmp_path / "in/seg.dcm", images, all_masks(grid, SPINE), grid, by="AUTOMATIC")
    _, notes = imported(tmp_path / "in", tmp_path / "out")
    assert "made by an algorithm" in notes[1]
    assert load_case(list_cases_in(tmp_path / "out")[0]).card["labels_by"] == "automatic"


def test_a_segment_without_voxels_counts_as_not_labelled(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    masks = all_masks(grid, ("l4", "ivd", "l5", "aa"))
    masks["aa"] = np.zeros_like(masks["aa"])
    write_seg(tmp_path / "in/seg.dcm", images, masks, grid)
    _, notes = imported(tmp_path / "in", tmp_path / "out")
    assert load_case(list_cases_in(tmp_path / "out")[0]).labelled == ("l4", "ivd", "l5")
    assert "seg.dcm: aa has no voxel; it counts as not labelled in this case" in notes


def test_fractional_segments_are_taken_as_they_are(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (2.0, 1.5, 1.5))
    images = write_mr(tmp_path / "in", grid)
    masks = {k: 0.9 * v for k, v in all_masks(grid, SPINE).items()}
    write_seg(tmp_path / "in/seg.dcm", images, masks, grid, kind="FRACTIONAL")
    imported(tmp_path / "in", tmp_path / "out")
    case = load_case(list_cases_in(tmp_path / "out")[0])
    assert centre_of(case, "l4") == pytest.approx(ORIGIN + BLOBS["l4"][0], abs=1.0)


@pytest.mark.parametrize("rule", ["not-constant", "regular-series", "readable"])
def test_damaged_input_is_refused_by_name_and_the_rest_imported(tmp_path: Path, rule: str) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in" / "bad", grid, seed=9)
    seg = write_seg(tmp_path / "in/bad/seg.dcm", images, all_masks(grid, SPINE), grid)
    if rule == "not-constant":
        for file in images:
            ds = dcmread(file)
            ds.PixelData = bytes(len(ds.PixelData))
            ds.save_as(file, enforce_file_format=True)
    elif rule == "regular-series":
        images[5].unlink()
    else:
        seg.write_bytes(seg.read_bytes()[:900])
    grid = grid_of(SAGITTAL)
    good = write_mr(tmp_path / "in" / "fine", grid)
    write_seg(tmp_path / "in/fine/seg.dcm", good, all_masks(grid, SPINE), grid)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert len(done.imported) == 1
    assert len(done.refused) == 1
    assert done.refused[0].startswith("bad/seg.dcm: ")


def test_a_folder_without_seg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="no DICOM SEG"):
        imported(tmp_path, tmp_path / "out")


def test_two_imports_do_not_write_at_once(exported: Path, tmp_path: Path) -> None:
    from training.importing import manifest

    with manifest.locked(tmp_path), pytest.raises(ImportRefused, match="another import"):
        imported(exported, tmp_path)


@pytest.mark.parametrize("alone", [True, False])
def test_contours_are_refused_with_what_converts_them(tmp_path: Path, alone: bool) -> None:
    grid = grid_of(SAGITTAL)
    images = write_mr(tmp_path / "in", grid)
    if not alone:
        write_seg(tmp_path / "in" / "seg.dcm", images, all_masks(grid), grid)
    contours = Dataset()
    contours.SOPClassUID, contours.SOPInstanceUID = CONTOURS, "2.25.1"
    contours.StudyInstanceUID, contours.SeriesInstanceUID = "2.25.2", "2.25.3"
    contours.Modality, contours.PatientID = "RTSTRUCT", "P"
    contours.StructureSetLabel = "L4"
    contours.file_meta = FileMetaDataset()
    contours.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    contours.save_as(tmp_path / "in" / "rs.dcm", enforce_file_format=True)
    done, _ = imported(tmp_path / "in", tmp_path / "out")
    assert len(done.imported) == (0 if alone else 1)
    (line,) = done.refused
    assert line.startswith("rs.dcm: rule labels: an RTSTRUCT holds contours")
    assert "3D Slicer or plastimatch" in line
