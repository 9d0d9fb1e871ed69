from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from typer.testing import CliRunner

from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.series import assemble
from dicomseg.structures import ANATOMICAL_STRUCTURE, BY_ID, LEFT, RIGHT, Code
from dicomseg.volume import Volume, build_affine
from training.cli.app import app
from training.data.cases import Case, list_cases_in, load_case
from training.errors import ImportRefused, PeerFailed, SourceMissing, UsageError
from training.importing.deidentify import read_or_create_secret
from training.importing.dicom import pending
from training.importing.dicomweb import fetched_studies
from training.importing.importer import ImportOptions, ImportSummary, import_all
from training.importing.label_table import LabelTable, Target
from training.phantom import dicom_series as study
from training.phantom.person import draw_person

# Centres and half sizes in LPS mm; nothing is symmetrical, so a mirrored axis would be seen.
BLOBS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "l4": ((2, 0, 16), (17, 12, 9)),
    "ivd": ((3, 0, 1), (17, 12, 5)),
    "l5": ((5, 2, -14), (17, 12, 9)),
    "dura": ((4, 22, 0), (6, 5, 18)),
    "n4.left": ((16, 24, 4), (4, 3, 6)),
    "n4.right": ((-9, 25, 2), (4, 3, 6)),
    "aa": ((9, -21, 2), (6, 5, 16)),
    "pm.left": ((33, 6, 1), (8, 9, 14)),
    "pm.right": ((-25, 4, -2), (6, 8, 14)),
    "ivc": ((-11, -20, 0), (5, 5, 16)),
}
SPINE = ("l4", "ivd", "l5")
ORIGIN = np.array([7.0, -11.0, 123.0])
AXIAL = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
SAGITTAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
TILTED = SAGITTAL @ np.array([[0.98, 0.199, 0], [-0.199, 0.98, 0], [0, 0, 1]])


def grid_of(directions: Any, spacing: Sequence[float] = (2.0, 1.5, 1.5)) -> Volume:
    """An empty grid of 90 × 70 × 56 mm about the blobs, whatever its axes."""
    unit = directions / np.linalg.norm(directions, axis=0)
    unit = np.linalg.qr(unit)[0] * np.sign(np.diag(np.linalg.qr(unit)[1]))
    reach = np.abs(unit.T @ np.diag([90.0, 70.0, 56.0])).sum(axis=1)
    count = np.ceil(reach / spacing).astype(int)
    start = ORIGIN + np.array([4, 4, 1]) - unit @ ((count - 1) / 2 * np.array(spacing))
    return Volume(np.zeros(count), build_affine(unit, spacing, start))


def blob(grid: Volume, name: str) -> np.ndarray[Any, Any]:
    centre, half = BLOBS[name]
    points = grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)) - ORIGIN
    return (np.abs(points - centre) <= half).all(axis=-1)


def pixels_of(grid: Volume, seed: int = 1) -> np.ndarray[Any, Any]:
    image = np.random.default_rng(seed).integers(20, 60, grid.shape).astype(float)
    for n, name in enumerate(BLOBS):
        image[blob(grid, name)] += 100 + 60 * n
    return image


def write_mr(folder: Path, grid: Volume, seed: int = 1, **changes: Any) -> list[Path]:
    """A classic MR series with names, dates and private elements of an invented patient."""
    folder.mkdir(parents=True, exist_ok=True)
    patient = study.Patient(f"case-{seed}", draw_person(seed), seed)
    stack = study.Stack(study.T2_SPACE, pixels_of(grid, seed), grid.affine)
    out = []
    for n, ds in enumerate(study.build_datasets(patient, stack)):
        ds.private_block(0x0029, "SIEMENS CSA", create=True).add_new(0x10, "LO", "Phantom^Private")
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        out.append(folder / f"{(n * 7) % 101:03d}.dcm")
        ds.save_as(out[-1], enforce_file_format=True)
    return out


def described(number: int, name: str, by: str = "MANUAL") -> hd.seg.SegmentDescription:
    structure, _, side = name.partition(".")
    code = BY_ID[structure].code if structure in BY_ID else Code("113343008", "SCT", "Organ")  # type: ignore[index]
    concept = hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"label {name}",
        segmented_property_category=hd.sr.CodedConcept(
            ANATOMICAL_STRUCTURE.value, ANATOMICAL_STRUCTURE.scheme, ANATOMICAL_STRUCTURE.meaning
        ),
        segmented_property_type=concept,
        algorithm_type=by,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            "tool", codes.DCM.ArtificialIntelligence, "1"
        )
        if by == "AUTOMATIC"
        else None,
        tracking_id=f"lesion {number}",
        tracking_uid=hd.UID(),
    )
    if side:
        code = LEFT if side == "left" else RIGHT
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept(code.value, code.scheme, code.meaning)
        ]
    return made


def write_seg(
    file: Path,
    images: Sequence[Path],
    masks: Mapping[str, Any],
    grid: Volume,
    *,
    by: str = "MANUAL",
    change: Callable[[Dataset], None] = lambda _: None,
    kind: str = "BINARY",
) -> Path:
    """A SEG of the masks on `grid`, which need not be that of the images."""
    sources = [dcmread(p) for p in images]
    for ds in sources:
        ds.remove_private_tags()
    array = np.stack(list(masks.values()), axis=-1)
    volume = hd.Volume(
        array.astype(np.uint8 if kind == "BINARY" else np.float32),
        grid.affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
        channels={"SegmentNumber": list(range(1, len(masks) + 1))},
    )
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=volume,
        segmentation_type=kind,
        segment_descriptions=[described(n, name, by) for n, name in enumerate(masks, start=1)],
        series_instance_uid=hd.UID(),
        series_number=100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Reader",
        manufacturer_model_name="Drawing",
        software_versions="1",
        device_serial_number="SN-4711",
        content_creator_name="Doe^Jane",
        omit_empty_frames=True,
    )
    change(seg)
    file.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(file)
    return file


def all_masks(grid: Volume, names: Sequence[str] = tuple(BLOBS)) -> dict[str, Any]:
    return {name: blob(grid, name) for name in names}


def options_for(out: Path, **changes: Any) -> ImportOptions:
    made = ImportOptions(
        out, "dicom", "CC BY 4.0", read_or_create_secret(out / "pseudonym.key"), "2026-11-23"
    )
    return replace(made, **changes)


def imported(
    folder: Path, out: Path, table: LabelTable | None = None, **changes: Any
) -> tuple[ImportSummary, list[str]]:
    notes: list[str] = []
    return import_all(pending(folder, table), options_for(out, **changes), notes.append), notes


def centre_of(case: Case, name: str) -> np.ndarray[Any, Any]:
    """Centre of a label in LPS mm; of a paired one, on the side of the named blob."""
    structure, _, side = name.partition(".")
    ijk = np.argwhere(case.labels == BY_ID[structure].value)  # type: ignore[index]
    points = ijk @ case.affine[:3, :3].T + case.affine[:3, 3]
    if side:
        middle = ORIGIN[0] + 4
        points = points[(points[:, 0] > middle) == (side == "left")]
    return np.asarray(points.mean(axis=0))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sagittal study: MR in one folder, the SEG of all ten labels in another."""
    folder = tmp_path_factory.mktemp("exported")
    grid = grid_of(SAGITTAL)
    images = write_mr(folder / "mr", grid)
    write_seg(folder / "seg" / "reader.dcm", images, all_masks(grid), grid)
    (folder / "notes.txt").write_text("no DICOM")
    return folder


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
    assert notes == ["seg.dcm: pm.left without the other side is not used"]


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
    assert "made by an algorithm" in notes[0]
    assert load_case(list_cases_in(tmp_path / "out")[0]).card["labels_by"] == "automatic"


def test_a_segment_without_voxels_is_known_to_be_empty(tmp_path: Path) -> None:
    grid = grid_of(AXIAL, (4.0, 3.0, 3.0))
    images = write_mr(tmp_path / "in", grid)
    masks = all_masks(grid, ("l4", "ivd", "l5", "aa"))
    masks["aa"] = np.zeros_like(masks["aa"])
    write_seg(tmp_path / "in/seg.dcm", images, masks, grid)
    imported(tmp_path / "in", tmp_path / "out")
    assert "aa" in load_case(list_cases_in(tmp_path / "out")[0]).labelled


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


# DICOMweb


def _served(folder: Path) -> type[BaseHTTPRequestHandler]:
    """QIDO-RS for series and WADO-RS for the objects of a series, of the files below a folder."""
    files: dict[str, list[Path]] = {}
    kinds: dict[str, str] = {}
    for file in sorted(folder.rglob("*.dcm")):
        ds = dcmread(file, stop_before_pixels=True)
        files.setdefault(str(ds.SeriesInstanceUID), []).append(file)
        kinds[str(ds.SeriesInstanceUID)] = ds.Modality

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != "Bearer right":
                self.send_error(401)
                return
            path = self.path.split("?")[0].rstrip("/")
            if path.endswith("/series"):
                rows = []
                for uid, kind in kinds.items():
                    row = Dataset()
                    row.SeriesInstanceUID, row.Modality = uid, kind
                    rows.append(row.to_json_dict())
                self._answer(json.dumps(rows).encode(), "application/dicom+json")
                return
            parts = b"".join(
                b"--part\r\nContent-Type: application/dicom\r\n\r\n" + p.read_bytes() + b"\r\n"
                for p in files[path.rsplit("/", 1)[1]]
            )
            kind = 'multipart/related; type="application/dicom"; boundary=part'
            self._answer(parts + b"--part--", kind)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is given
            """Say nothing."""

    return Handler


@pytest.fixture
def server(exported: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _served(exported)) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}/dicom-web"
        made.shutdown()
        thread.join()


@pytest.mark.process
def test_a_study_from_dicomweb_gives_the_same_case_as_its_files(
    exported: Path, tmp_path: Path, server: str
) -> None:
    imported(exported, tmp_path / "files")
    (tmp_path / "web" / ".incoming-killed").mkdir(parents=True)  # of an import that was killed
    with fetched_studies(server, ["1.2.3"], tmp_path / "web", "Bearer right") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        imported(folder, tmp_path / "web", source="dicomweb")
    first, second = (load_case(list_cases_in(tmp_path / n)[0]) for n in ("files", "web"))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.image, second.image)
    assert not list((tmp_path / "web").glob(".incoming*"))


@pytest.mark.process
def test_a_server_that_refuses_is_a_peer_that_failed(tmp_path: Path, server: str) -> None:
    with (
        pytest.raises(PeerFailed, match="HTTP 401"),
        fetched_studies(server, ["1.2.3"], tmp_path, "no"),
    ):
        pass
    nowhere = "http://127.0.0.1:9/dicom-web"
    with (
        pytest.raises(PeerFailed, match=r"127\.0\.0\.1:9"),
        fetched_studies(nowhere, ["1.2.3"], tmp_path),
    ):
        pass
    assert not list(tmp_path.glob(".incoming*"))


@pytest.mark.parametrize(
    ("url", "study"),
    [
        ("ftp://host/x", "1.2"),
        ("host:8042", "1.2"),
        ("http://me:secret@host/x", "1.2"),
        ("http://host/x", "../1"),
    ],
)
def test_addresses_and_uids_are_checked_before_anything_is_asked(
    tmp_path: Path, url: str, study: str
) -> None:
    with pytest.raises(UsageError) as refused, fetched_studies(url, [study], tmp_path):
        pass
    assert "secret" not in str(refused.value)


# The command


@pytest.mark.process
def test_the_command_imports_says_so_and_ends_with_the_code(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    run = CliRunner()
    given = ["import", "--out", str(tmp_path / "out"), "--licence", "CC0"]
    done = run.invoke(app, [*given, "--dicom", str(exported)])
    assert done.exit_code == 0
    assert "1 imported, 0 already there" in done.output
    monkeypatch.setenv("LUMBAR_DICOMWEB_AUTHORIZATION", "Bearer right")
    done = run.invoke(app, [*given, "--dicomweb", server, "--study", "1.2.3"])
    assert "0 imported, 1 already there" in done.output
    for wrong in ([], ["--dicomweb", server], ["--dicom", "x", "--study", "1"]):
        assert run.invoke(app, [*given, *wrong]).exception.exit_code == 2  # type: ignore[union-attr]
    refused = run.invoke(app, [*given, "--dicom", str(tmp_path)])
    assert refused.exception.exit_code == 4  # type: ignore[union-attr]
