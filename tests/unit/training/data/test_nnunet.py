"""Prepared cases as a dataset of nnU-Net: values, ignored voxels, geometry, folds; and back again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.labelled_volumes import grid, imported, painted, write
from training.cli.app import app
from training.data.cases import IGNORED, Case, list_cases_in, load_case, save_case
from training.data.folds import Fold, check_folds, read_folds
from training.data.nnunet import dataset_folder, folds_of_splits, nnunet_labels, nnunet_splits
from training.data.persons import PATIENT_KEY
from training.errors import CaseUnreadable, FoldsError, SourceMissing, UsageError


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("one")
    write(folder, "a", *painted(grid(np.diag([-1.0, -1, 1]))))
    imported(folder)
    (path,) = list_cases_in(folder / "out")
    found = load_case(path)
    return replace(found, card={**found.card, PATIENT_KEY: {"named": True}})  # copies are persons


def cohort(case: Case, folder: Path, count: int = 4) -> Path:
    """Cases of `count` persons, the first of whom has two; in the last one some slices are unknown."""
    ids = ["c0-again", *(f"c{n}" for n in range(count))]
    for n, name in enumerate(ids):
        labels = case.labels.copy()
        if n == count:
            labels[:3] = IGNORED
        noisy = case.image + np.float32(n)
        patient = f"p{name[1]}"
        save_case(
            replace(case, case_id=name, patient_id=patient, labels=labels, image=noisy), folder
        )
    return folder


def export(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["to-nnunet", *options])
    code = getattr(done.exception, "exit_code", done.exit_code)
    return code, done.output + str(done.exception or "")


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_there_and_back_labels_geometry_names_and_persons_are_equal(
    case: Case, tmp_path: Path, ending: str
) -> None:
    cases = cohort(case, tmp_path / "cases", 2)
    out = tmp_path / "raw"
    code, said = export(
        "--cases", str(cases), "--out", str(out), "--folds", str(folds_of(tmp_path, 2)),
        "--file-ending", ending,
    )  # fmt: skip
    assert code == 0, said
    dataset = out / "Dataset501_Lumbar"
    named = json.loads((dataset / "dataset.json").read_text())
    assert named["labels"] == {
        "background": 0, "l4": 1, "ivd": 2, "l5": 3, "dura": 4, "aa": 5, "pm": 6, "ignore": 7
    }  # fmt: skip
    assert (named["channel_names"], named["file_ending"]) == ({"0": "T2"}, ending)
    assert named["numTraining"] == 3
    back = CliRunner().invoke(
        app,
        ["import", "--out", str(tmp_path / "back"), "--licence", "x", "--nnunet", str(dataset)],
    )
    assert back.exit_code == 0, back.output
    again = [load_case(path) for path in list_cases_in(tmp_path / "back")]
    persons = {c.patient_id for c in again}
    assert (len(again), len(persons)) == (3, 2)
    for name in ("c0", "c0-again", "c1"):
        before = load_case(cases / f"{name}.npz")
        (after,) = [c for c in again if np.abs(c.image - before.image).max() < 0.01]
        assert np.array_equal(after.labels, before.labels), name
        assert np.allclose(after.affine, before.affine, atol=1e-4)
        assert after.labelled == before.labelled
        assert after.level_centre_lps == pytest.approx(before.level_centre_lps, abs=0.05)
    assert any((c.labels == IGNORED).any() for c in again)
    by_image = {float(c.image.min()): c.case_id for c in again}
    names = {
        name: by_image[float(load_case(cases / f"{name}.npz").image.min())]
        for name in ("c0", "c0-again", "c1")
    }
    folds = read_folds(tmp_path / "back" / "folds.json")
    assert [set(f.test) for f in folds] == [{names["c0"], names["c0-again"]}, {names["c1"]}]
    for fold in folds:
        assert sorted((*fold.test, *fold.validation, *fold.train)) == sorted(names.values())


def folds_of(folder: Path, persons: int) -> Path:
    """Folds that test one person each."""
    every = [[f"c{n}"] + (["c0-again"] if n == 0 else []) for n in range(persons)]
    folds = [
        {"test": t, "validation": [], "train": sorted(c for o in every if o is not t for c in o)}
        for t in every
    ]
    file = folder / "folds.json"
    file.write_text(json.dumps({"schema": 1, "seed": 1, "folds": folds}))
    return file


def test_another_reader_finds_each_voxel_where_the_case_has_it(case: Case, tmp_path: Path) -> None:
    """nibabel, RAS: an independent reader of what SimpleITK wrote."""
    cases = cohort(case, tmp_path / "cases")
    assert export("--cases", str(cases), "--out", str(tmp_path), "--count", "2")[0] == 0
    dataset = tmp_path / "Dataset501_Lumbar"
    image = nibabel.load(dataset / "imagesTr" / "c1_0000.nii.gz")
    labels = nibabel.load(dataset / "labelsTr" / "c1.nii.gz")
    assert np.allclose(image.affine, labels.affine)
    for value in (2, 5, 6):
        ijk = np.argwhere(case.labels == {2: 2, 5: 6, 6: 7}[value]).mean(axis=0)
        lps = case.affine[:3, :3] @ ijk + case.affine[:3, 3]
        found = np.argwhere(np.asarray(labels.dataobj) == value).mean(axis=0)
        ras = labels.affine[:3, :3] @ found + labels.affine[:3, 3]
        if (case.labels == {2: 2, 5: 6, 6: 7}[value]).any():
            assert ras == pytest.approx(lps * [-1, -1, 1], abs=0.01)


def test_folds_are_by_person_and_a_case_in_no_fold_is_trained_on(
    case: Case, tmp_path: Path
) -> None:
    cases = cohort(case, tmp_path / "cases")
    save_case(replace(case, case_id="phantom-000001", patient_id="PHANTOM"), cases)
    code, said = export(
        "--cases", str(cases), "--out", str(tmp_path), "--folds", str(folds_of(tmp_path, 4))
    )
    assert code == 0, said
    splits = json.loads((tmp_path / "Dataset501_Lumbar" / "splits_final.json").read_text())
    assert [s["val"] for s in splits] == [["c0", "c0-again"], ["c1"], ["c2"], ["c3"]]
    for split in splits:
        assert "phantom-000001" in split["train"]
        assert not set(split["train"]) & set(split["val"])
        assert len(split["train"]) + len(split["val"]) == 6
    rest = nnunet_splits(
        [Fold(("a",), (), ("b",))], {"a": "A", "a2": "A", "b": "B"}, ["a", "a2", "b"]
    )
    assert rest == [{"train": ["b"], "val": ["a"]}]


def test_new_folds_are_drawn_and_too_few_persons_are_refused(case: Case, tmp_path: Path) -> None:
    cases = cohort(case, tmp_path / "cases")
    call = ["--cases", str(cases), "--out", str(tmp_path / "raw"), "--name", "A"]
    code, said = export(*call)
    assert code == FoldsError.exit_code
    assert "4 patients make no 5 folds" in said
    assert not (tmp_path / "raw").exists()
    assert export(*call, "--count", "2")[0] == 0
    splits = json.loads((tmp_path / "raw" / "Dataset501_A" / "splits_final.json").read_text())
    assert sorted(c for s in splits for c in s["val"]) == ["c0", "c0-again", "c1", "c2", "c3"]


def test_a_damaged_case_is_named_and_the_others_are_written(case: Case, tmp_path: Path) -> None:
    cases = cohort(case, tmp_path / "cases")
    (cases / "c2.npz").write_bytes(b"no")
    code, said = export("--cases", str(cases), "--out", str(tmp_path), "--count", "2")
    assert code == CaseUnreadable.exit_code
    assert "1 cases were not written: c2 in " in said
    dataset = tmp_path / "Dataset501_Lumbar"
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 4
    assert not (dataset / "labelsTr" / "c2.nii.gz").exists()
    splits = json.loads((dataset / "splits_final.json").read_text())
    assert all("c2" not in s["val"] + s["train"] for s in splits)


def test_structures_that_not_every_case_labels_are_left_out_or_their_cases(
    case: Case, tmp_path: Path
) -> None:
    cases = cohort(case, tmp_path / "cases")
    four = replace(case, case_id="z", patient_id="Z", labelled=("l4", "ivd", "l5", "dura"))
    save_case(four, cases)
    call = ["--cases", str(cases), "--out", str(tmp_path), "--count", "2"]
    assert export(*call)[0] == 0
    named = json.loads((tmp_path / "Dataset501_Lumbar" / "dataset.json").read_text())
    assert list(named["labels"]) == ["background", "l4", "ivd", "l5", "dura", "ignore"]
    code, said = export(*call, "--dataset", "502", "--structure", "aa", "--structure", "ivd")
    assert code == 0
    assert "1 cases do not label ivd, aa and are left out" in said
    named = json.loads((tmp_path / "Dataset502_Lumbar" / "dataset.json").read_text())
    assert (named["labels"]["aa"], named["numTraining"]) == (2, 5)
    save_case(replace(four, case_id="y", patient_id="Y", labelled=("n4",)), cases)
    code, said = export(*call, "--dataset", "503")
    assert code == SourceMissing.exit_code
    assert "no labelled structure in common" in said
    assert export(*call, "--structure", "liver")[0] == 2


def test_values_are_consecutive_and_the_ignored_one_is_the_highest() -> None:
    labels = np.array([0, 1, 2, 3, 4, 8, IGNORED], np.uint8)
    assert nnunet_labels(labels, {"ivd": 1, "dura": 2}).tolist() == [0, 0, 1, 0, 2, 0, 3]


def test_a_dataset_that_is_there_is_kept(tmp_path: Path) -> None:
    assert dataset_folder(tmp_path, 7, "A_b").name == "Dataset007_A_b"
    for number, name in ((0, "A"), (1000, "A"), (1, "A b"), (1, ""), (1, "Ä")):
        with pytest.raises(UsageError, match="give 1 to 999"):
            dataset_folder(tmp_path, number, name)
    (tmp_path / "Dataset007_Other").mkdir()
    with pytest.raises(UsageError, match="Dataset007_Other is there already"):
        dataset_folder(tmp_path, 7, "A")
    (tmp_path / "Dataset008_A").mkdir()
    assert dataset_folder(tmp_path, 8, "A").name == "Dataset008_A"  # begun, and never finished
    (tmp_path / "Dataset008_A" / "dataset.json").touch()
    with pytest.raises(UsageError, match="Dataset008_A is there already"):
        dataset_folder(tmp_path, 8, "A")


def test_a_value_of_another_ending_is_refused(case: Case, tmp_path: Path) -> None:
    cases = cohort(case, tmp_path / "cases")
    call = ["--cases", str(cases), "--out", str(tmp_path), "--count", "2"]
    code, said = export(*call, "--file-ending", ".png")
    assert code == 2
    assert ".png is no ending of a volume" in said


def test_of_the_patients_that_nnunet_trains_on_some_choose() -> None:
    patients = {f"c{n}{scan}": f"p{n}" for n in range(10) for scan in "ab"}
    names = sorted(patients)
    splits = [
        {"val": names[4 * n : 4 * n + 4], "train": names[: 4 * n] + names[4 * n + 4 :]}
        for n in range(5)
    ]
    splits[0]["train"].append("refused")
    folds = folds_of_splits(splits, patients)
    check_folds(folds, patients)
    assert [tuple(map(len, (f.test, f.validation, f.train))) for f in folds] == [(4, 4, 12)] * 5
    with pytest.raises(FoldsError, match="patient p0 is in test and in"):
        check_folds(folds_of_splits([{"val": ["c0a"], "train": names[1:]}], patients), patients)
