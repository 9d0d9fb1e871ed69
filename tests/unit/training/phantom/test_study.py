from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from typer.testing import CliRunner

from model.engines.coded import MARGIN_STEPS, decode_logits
from training.cli.app import app
from training.errors import UsageError
from training.phantom.study import StudyOptions, write_study

pytestmark = pytest.mark.slow  # phantoms with all their distractors

SMALL = {"slices": 24, "matrix": 64}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(
        tmp_path_factory.mktemp("study"), 61, StudyOptions(oblique=True, distractors=True, **SMALL)
    )


def read_series(folder: Path) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(p) for p in sorted(folder.glob("*.dcm"))]


def test_simpleitk_reads_the_geometry_that_was_painted(study: Path) -> None:
    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(study / "t2_space"))
    reader.SetFileNames(names)
    image = reader.Execute()
    with np.load(study / "labels.npz") as stored:
        labels, affine = stored["labels"], stored["affine"]
    assert image.GetSize() == labels.shape[::-1]
    for index in ((0, 0, 0), (5, 9, 20), (23, 63, 63)):
        ours = affine[:3, :3] @ index + affine[:3, 3]
        theirs = image.TransformIndexToPhysicalPoint([int(v) for v in index[::-1]])
        assert np.allclose(ours, theirs, atol=1e-4)


def test_file_order_says_nothing_about_slice_order(study: Path) -> None:
    numbers = [int(ds.InstanceNumber) for ds in read_series(study / "t2_space")]
    assert sorted(numbers) == list(range(1, 25))
    assert numbers != sorted(numbers)


def test_headers_tell_the_t2_space_from_its_neighbours(study: Path) -> None:
    heads = {p.name: read_series(p)[0] for p in sorted(study.iterdir()) if p.is_dir()}
    assert set(heads) == {
        "localizer", "t2_tse_sag", "t1_space", "t2_flair", "t2_space", "t2_space_nd", "mpr",
    }  # fmt: skip
    main = heads["t2_space"]
    assert (float(main.RepetitionTime), float(main.EchoTime), float(main.FlipAngle)) == (
        2800,
        189,
        45,
    )
    assert main.SequenceName.startswith("*spcR3d1_")
    assert main.ImagesInAcquisition == 24
    assert list(main.SequenceVariant) == ["SK", "SP", "OSP"]
    assert "DIS3D" in main.ImageType
    assert "ND" in heads["t2_space_nd"].ImageType
    assert heads["t2_flair"].InversionTime == 1800
    assert float(heads["t1_space"].EchoTime) < 30
    assert heads["mpr"].ImageType[0] == "DERIVED"
    assert heads["t2_tse_sag"].MRAcquisitionType == "2D"
    assert len({ds.FrameOfReferenceUID for ds in heads.values()}) == 1
    assert len({ds.SeriesInstanceUID for ds in heads.values()}) == len(heads)
    assert len({ds.PatientID for ds in heads.values()}) == 1


def test_truth_names_the_series_and_all_measurements(study: Path) -> None:
    text = json.loads((study / "truth.json").read_text())
    assert set(text["measurements"]) == {"OC", "DAA", "DIVC", "PI"}
    assert text["series_uid"] == read_series(study / "t2_space")[0].SeriesInstanceUID
    assert text["level"]["disc_centres"]["l45"] == pytest.approx(text["level"]["centre_lps"])
    assert all(volume > 0 for volume in text["label_volumes_ml"].values())
    assert text["card"]["seed"] == 61


@pytest.mark.servers
def test_dciodvfy_finds_no_error(study: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed")
    for folder in sorted(p for p in study.iterdir() if p.is_dir()):
        done = subprocess.run(
            [program, "-new", str(next(folder.glob("*.dcm")))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Error" not in done.stdout + done.stderr, folder.name


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(study: Path, tmp_path: Path) -> None:
    again = write_study(tmp_path, 61, StudyOptions(oblique=True, **SMALL))
    for path in sorted((again / "t2_space").glob("*.dcm")):
        assert path.read_bytes() == (study / "t2_space" / path.name).read_bytes()


def test_coded_voxels_hold_the_labels(tmp_path: Path) -> None:
    folder = write_study(tmp_path, 62, StudyOptions(coded=True, drop_slice=None, **SMALL))
    with np.load(folder / "labels.npz") as stored:
        labels = stored["labels"]
    slices = sorted(read_series(folder / "t2_space"), key=lambda ds: int(ds.InstanceNumber))
    values = np.stack([ds.pixel_array for ds in slices])
    assert np.array_equal(np.argmax(decode_logits(values), axis=0), labels)
    assert (values % MARGIN_STEPS).min() >= 1  # never a tie
    runner_up = values // MARGIN_STEPS % 9
    border = values % MARGIN_STEPS < MARGIN_STEPS / 3
    assert (runner_up[border] != labels[border]).all()


def test_a_dropped_slice_is_missing_and_still_announced(tmp_path: Path) -> None:
    folder = write_study(tmp_path, 63, StudyOptions(drop_slice=7, slices=12, matrix=48))
    found = read_series(folder / "t2_space")
    assert len(found) == 11
    assert {int(ds.InstanceNumber) for ds in found} == set(range(1, 13)) - {8}
    assert {int(ds.ImagesInAcquisition) for ds in found} == {12}


def test_dropping_a_slice_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="slices 0 to 11"):
        write_study(tmp_path, 64, StudyOptions(drop_slice=12, slices=12, matrix=48))


@pytest.mark.slow
def test_command_line_writes_a_study(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["phantom", "--out", str(tmp_path), "--seed", "65", "--slices", "12", "--matrix", "48"],
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "phantom-000065" / "truth.json").exists()
