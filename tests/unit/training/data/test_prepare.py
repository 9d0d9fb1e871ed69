from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.paths import SHARED
from training.cli.app import app
from training.data.cases import Case, load_case
from training.data.held_out import split_cases
from training.data.prepare import prepare_phantoms, prepare_spider, spider_case
from training.errors import SourceMissing


@pytest.fixture(scope="module")
def spider() -> Path:
    folder = SHARED / "data" / "spider"
    if not folder.is_dir():
        pytest.skip("the SPIDER volumes are not beside the repository")
    return folder


@pytest.fixture(scope="module")
def patient(spider: Path) -> Case:
    return spider_case(spider, "5")


@pytest.mark.shared
def test_spider_lands_in_lps_with_its_published_disc_centre(patient: Case, spider: Path) -> None:
    with (spider / "subjects.csv").open() as rows:
        row = next(r for r in csv.DictReader(rows) if r["id"] == "5")
    said = [float(row[f"disc_{axis}_mm"]) for axis in "xyz"]
    assert patient.level_centre_lps == pytest.approx(said, abs=1.0)


@pytest.mark.shared
def test_spider_volumes_survive_the_resampling(patient: Case, spider: Path) -> None:
    with (spider / "subjects.csv").open() as rows:
        row = next(r for r in csv.DictReader(rows) if r["id"] == "5")
    voxel_ml = abs(np.linalg.det(patient.affine[:3, :3])) / 1000
    for value, column in ((1, "L4_cm3"), (2, "IVD_cm3"), (3, "L5_cm3"), (4, "canal_cm3")):
        ours = (patient.labels == value).sum() * voxel_ml
        assert ours == pytest.approx(float(row[column]), rel=0.05), column


@pytest.mark.shared
def test_spider_discs_are_named_from_below(patient: Case) -> None:
    z = [patient.disc_centres[name][2] for name in ("l5s1", "l45", "l34", "l23", "l12")]
    assert z == sorted(z)
    assert patient.disc_centres["l45"] == pytest.approx(patient.level_centre_lps, abs=3.0)
    assert patient.level_normal[2] > 0.8
    assert patient.labelled == ("l4", "ivd", "l5", "dura")


@pytest.mark.shared
def test_spider_labels_of_the_whole_spine_agree_with_those_of_l45(patient: Case) -> None:
    as_it_is = patient.at_disc(2).labels
    for value in (1, 2, 3, 4):
        a, b = as_it_is == value, patient.labels == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.998
    assert patient.other_discs()[:3] == [3, 4, 5]
    upper = patient.at_disc(3)
    assert np.argwhere(upper.labels == 3)[:, 0].mean() == pytest.approx(
        np.argwhere(patient.labels == 1)[:, 0].mean(), abs=0.5
    )  # what was L4 is now the body below


def test_spider_bodies_are_brighter_than_their_cortex_neighbours(patient: Case) -> None:
    # image and labels share one grid: the canal is brighter than the bodies, these than the discs
    median = [np.median(patient.image[patient.labels == value]) for value in (4, 1, 2)]
    assert median[0] > median[1] > median[2] > 0


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"image\.nii\.gz"):
        prepare_spider(tmp_path, tmp_path / "out")
    with pytest.raises(SourceMissing, match=r"9\.image\.nii\.gz"):
        spider_case(tmp_path, "9")


@pytest.mark.slow
def test_preparing_again_leaves_what_is_there(tmp_path: Path) -> None:
    said: list[str] = []
    first = prepare_phantoms(81, 1, tmp_path, said.append, slices=8, matrix=48)
    before = first[0].stat().st_mtime_ns
    prepare_phantoms(81, 1, tmp_path, said.append, slices=8, matrix=48)
    assert first[0].stat().st_mtime_ns == before
    assert said == ["phantom-000081"] * 2
    assert load_case(first[0]).source == "phantom"


@pytest.mark.slow
def test_varied_vessels_are_another_case_of_the_same_patient(tmp_path: Path) -> None:
    call = ["prepare", "--out", str(tmp_path), "--phantoms", "1", "--varied", "1", "--seed", "82"]
    done = CliRunner().invoke(app, [*call, "--slices", "8", "--matrix", "48"])
    assert done.exit_code == 0, done.output
    usual, varied = (load_case(tmp_path / f"phantom{n}-000082.npz") for n in ("", "-varied"))
    assert usual.patient_id == varied.patient_id
    assert (usual.card["vessel_kind"], varied.card["vessel_kind"]) == ("usual", "varied")
    assert not np.array_equal(usual.labels, varied.labels)
    phantoms, _, held = split_cases(tmp_path, ["phantom-000082"])
    assert (phantoms, len(held)) == ([], 2)  # no leak: one person


@pytest.mark.slow
def test_the_command_also_prepares_slabs_of_the_whole_lumbar_spine(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["prepare", "--out", str(tmp_path), "--lumbar", "1", "--seed", "1012"]
    )
    assert done.exit_code == 0, done.output
    case = load_case(tmp_path / "phantom-lumbar-001012.npz")
    assert case.image.shape[2] * 0.75 < 25
    assert {"l5s1", "l45", "t12l1"} <= set(case.disc_centres)
