"""Datasets of nnU-Net as others write them: names, regions, channels, file lists, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from tests.support.labelled_volumes import BLOBS, CENTRE, centre_of, filled, grid, painted
from training.cli.app import app
from training.data.cases import IGNORED, list_cases_in, load_case
from training.errors import ImportRefused, SourceMissing
from training.importing.label_table import Target
from training.importing.nnunet import RawDataset, find_cases, label_table, read_dataset

NAMES = {
    "background": 0,
    "L4": 1,
    "IVD": 2,
    "l5": 3,
    "dura": 4,
    "aa": 5,
    "pm.left": 6,
    "pm.right": 7,
}
"""The blobs' values, less 10."""


def dataset(folder: Path, ending: str = ".nii.gz", **changed: Any) -> Path:
    """Write two cases of one channel."""
    content = {
        "channel_names": {"0": "T2"},
        "labels": NAMES,
        "numTraining": 2,
        "file_ending": ending,
    }
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(("lumbar_001", "lumbar_002")):
        image, labels = painted(grid(), seed=n)
        array = SimpleITK.GetArrayFromImage(labels)
        values = filled(labels, np.where(array > 0, array - 10, 0).astype(np.uint8))
        SimpleITK.WriteImage(image, str(folder / "imagesTr" / f"{name}_0000{ending}"))
        SimpleITK.WriteImage(values, str(folder / "labelsTr" / f"{name}{ending}"))
    (folder / "dataset.json").write_text(json.dumps(content | changed))
    return folder


def run(folder: Path, *options: str) -> tuple[int, str]:
    call = ["import", "--out", str(folder / "out"), "--licence", "x", "--nnunet", str(folder)]
    done = CliRunner().invoke(app, [*call, *options])
    return getattr(done.exception, "exit_code", done.exit_code), done.output + str(
        done.exception or ""
    )


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_names_of_the_dataset_tell_the_structures(tmp_path: Path, ending: str) -> None:
    code, said = run(dataset(tmp_path, ending))
    assert code == 0, said
    cases = [load_case(path) for path in list_cases_in(tmp_path / "out")]
    assert len({case.patient_id for case in cases}) == 2
    assert cases[0].labelled == ("l4", "ivd", "l5", "dura", "aa", "pm")
    for name, centre, _ in BLOBS.values():
        assert centre_of(cases[0], name) == pytest.approx(CENTRE + centre, abs=1.0), name


def test_a_table_of_patients_beside_it_or_given_names_who_was_scanned_twice(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    (folder / "patients.csv").write_text("file,patient\nlumbar_001,A\nlumbar_002,A\n")
    assert run(folder)[0] == 0
    assert len({load_case(p).patient_id for p in list_cases_in(folder / "out")}) == 1


def test_regions_are_taken_by_the_smallest_whose_name_is_known(tmp_path: Path) -> None:
    labels = {"background": 0, "spine": [1, 2, 3], "L4": 1, "ivd": [2], "l5": 3, "dura": 4, "aa": 5, "pm": [6, 7]}  # fmt: skip
    folder = dataset(tmp_path, labels=labels, regions_class_order=[1, 2, 3, 4, 5, 6, 7])
    table = label_table(read_dataset(folder), {})
    assert {k: t.text for k, t in table.items()} == {
        "0": "background", "1": "l4", "2": "ivd", "3": "l5", "4": "dura", "5": "aa", "6": "pm", "7": "pm"
    }  # fmt: skip
    assert run(folder)[0] == 0


def made(labels: dict[str, Any], folder: Path = Path("D")) -> RawDataset:
    values = {k: tuple(v) if isinstance(v, list) else (v,) for k, v in labels.items()}
    return RawDataset(folder, values, {0: "T2"}, ".nii.gz", {})


def test_names_that_are_not_ours_are_named_and_mapped_by_the_table() -> None:
    strange = made({"background": 0, "disk": 1, "thing": 2, "ignore": 3})
    with pytest.raises(
        ImportRefused, match="disk, thing have no known name; map each with --labels"
    ):
        label_table(strange, {})
    mapped = label_table(strange, {"DISK": Target("ivd"), "2": Target(None)})
    assert mapped == {"0": Target(None), "1": Target("ivd"), "2": Target(None), "3": Target(None, further=IGNORED)}  # fmt: skip
    with pytest.raises(ImportRefused, match="1 is ivd and l4"):
        label_table(made({"ivd": [1, 2], "l4": [1, 3]}), {})


def test_of_several_channels_t2_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    folder = dataset(tmp_path, channel_names={"0": "T1", "1": "T2_SPACE"})
    for file in list((folder / "imagesTr").iterdir()):
        other = SimpleITK.ReadImage(str(file)) * 0 + 7
        file.rename(file.with_name(file.name.replace("_0000", "_0001")))
        SimpleITK.WriteImage(other, str(file))
    code, said = run(folder)
    assert code == 0, said
    assert "channel 0 (T1) is not used" in said
    assert all(load_case(p).image.std() > 10 for p in list_cases_in(folder / "out"))


def test_files_that_the_dataset_lists_itself_are_read(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    (folder / "elsewhere").mkdir()
    (folder / "imagesTr" / "lumbar_002_0000.nii.gz").rename(folder / "elsewhere" / "x.nii.gz")
    listed = {"b": {"images": ["elsewhere/x.nii.gz"], "label": "labelsTr/lumbar_002.nii.gz"}}
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"dataset": listed}))
    code, said = run(folder)
    assert code == 0, said
    assert len(list_cases_in(folder / "out")) == 1


def test_one_half_of_a_pair_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    (folder / "labelsTr" / "lumbar_001.nii.gz").unlink()
    code, said = run(folder)
    assert code == 4
    assert "rule pair: no label map is called lumbar_001" in said
    assert len(list_cases_in(folder / "out")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "rule readable"),
        ("[]", "it needs labels, channel_names and file_ending"),
        ('{"modality": {"0": "T2"}, "labels": {"0": "background"}}', "version 1; convert it"),
        ('{"labels": {"l4": "one"}, "channel_names": {}, "file_ending": ".mha"}', "ValueError"),
        ('{"labels": {"l4": 1}, "channel_names": {"0": "R"}, "file_ending": ".png"}', "no volumes"),
        ('{"labels": {"l4": true}, "channel_names": {"0": "R"}, "file_ending": ".mha"}', "true or"),
    ],
)
def test_a_dataset_that_is_none_is_refused_in_one_line(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ImportRefused, match=said):
        read_dataset(tmp_path)
    assert run(tmp_path)[0] == 4


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no dataset\.json; give the folder DatasetNNN_Name"):
        read_dataset(tmp_path)
    empty = made({"l4": 1}, tmp_path)
    with pytest.raises(SourceMissing, match=r"no \*_0000\.nii\.gz in imagesTr"):
        find_cases(empty)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ([{"train": ["lumbar_002"], "val": ["lumbar_001"]}], "patient"),
        ("{", "JSONDecodeError; restore or remove it"),
        ([{"train": []}], "KeyError; restore or remove it"),
    ],
)
def test_folds_that_cannot_be_taken_are_named_and_the_cases_imported(
    tmp_path: Path, splits: Any, said: str
) -> None:
    """The first parts a person who was scanned twice."""
    folder = dataset(tmp_path)
    (folder / "patients.csv").write_text("file,patient\nlumbar_001,A\nlumbar_002,A\n")
    text = splits if isinstance(splits, str) else json.dumps(splits)
    (folder / "splits_final.json").write_text(text)
    code, printed = run(folder)
    assert code == 0, printed
    assert "the dataset's folds are not taken: " in printed
    assert said in printed
    assert len(list_cases_in(folder / "out")) == 2
    assert not (folder / "out" / "folds.json").exists()
