"""CT label maps painted as T2 SPACE: they stay where they are, and what is unknown stays unknown."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from training.cli.app import app
from training.data.cases import Case, load_case
from training.data.painted_ct import painted_ct_case, read_label_map
from training.errors import SourceMissing

SPACING = 2.0
GRID = (60, 50, 56)


def _ball(centre_ras: tuple[float, float, float], half: tuple[float, float, float]) -> np.ndarray:
    """Box-shaped mask about a RAS point in mm; the map's middle is the origin."""
    axes = [(np.arange(n) - (n - 1) / 2) * SPACING for n in GRID]
    inside = [np.abs(a - c) <= h for a, c, h in zip(axes, centre_ras, half, strict=True)]
    return np.einsum("i,j,k->ijk", *inside).astype(bool)


@pytest.fixture(scope="module")
def label_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bodies, disc, an artery on the left, a vein on the right that is missing in the middle; RAS axes."""
    labels = np.zeros(GRID, np.uint8)
    labels[_ball((0, 0, 0), (22, 17, 4))] = 2
    labels[_ball((0, 0, 18), (22, 17, 13))] = 1
    labels[_ball((0, 0, -18), (22, 17, 13))] = 3
    labels[_ball((-8, 27, 0), (6, 6, 60))] = 6
    labels[_ball((12, 27, 0), (6, 6, 60))] = 8
    labels[:, :, 20:40][labels[:, :, 20:40] == 8] = 0
    labels[_ball((40, 0, 0), (10, 14, 60))] = 11
    labels[_ball((-40, 0, 0), (10, 14, 60))] = 12
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (30.0, -7.0, 400.0)  # somewhere in the scanner
    file = tmp_path_factory.mktemp("maps") / "box_1.labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, affine), file)
    return file


@pytest.fixture(scope="module")
def case(label_map: Path) -> Case:
    return painted_ct_case(label_map, 3)


def _mean_lps(case: Case, value: int) -> np.ndarray:
    index = np.argwhere(case.labels == value).mean(axis=0)
    return np.asarray(case.affine[:3, :3] @ index + case.affine[:3, 3])


def test_solids_lie_where_the_map_has_them(case: Case) -> None:
    assert (case.case_id, case.patient_id, case.source) == (
        "shapes-box-1-3",
        "SHAPES-box_1",
        "shapes",
    )
    assert np.allclose(_mean_lps(case, 2), 0, atol=0.3)
    assert np.allclose(_mean_lps(case, 6), (8, -27, 0), atol=0.8)  # left is +x, front is -y
    assert abs(_mean_lps(case, 7)[0]) < 0.5
    voxel = 0.8 * 0.75 * 0.75
    body = 44 * 36 * 28  # voxels of the map; smoothing takes the edges off
    assert (case.labels == 1).sum() * voxel == pytest.approx(body, rel=0.03)
    assert case.level_normal == pytest.approx((0, 0, 1), abs=0.02)


def test_what_the_map_left_out_is_unknown_and_not_absent(case: Case) -> None:
    assert set(case.labelled) == {"l4", "ivd", "l5", "aa", "pm"}  # the vein was labelled in part
    assert 8 in case.labels
    assert 4 not in case.labels
    assert 5 not in case.labels


def test_vessels_are_dark_and_marrow_is_not(case: Case) -> None:
    means = {v: float(case.image[case.labels == v].mean()) for v in (1, 6, 7)}
    assert means[6] < 0.6 * means[7] < 0.6 * means[1]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_case(case: Case, label_map: Path) -> None:
    again, other = painted_ct_case(label_map, 3), painted_ct_case(label_map, 4)
    assert np.array_equal(case.image, again.image)
    assert not np.array_equal(case.image, other.image)
    assert np.array_equal(case.labels, other.labels)


@pytest.mark.slow
def test_the_blood_of_varied_vessels_changes_grey_values_only(case: Case, label_map: Path) -> None:
    grey = painted_ct_case(label_map, 3, vessels="varied")
    assert np.array_equal(grey.labels, case.labels)
    assert not np.array_equal(grey.image[case.labels == 6], case.image[case.labels == 6])
    assert grey.card["blood"] == "varied"


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_aorta_that_has_not_divided_is_one_section_at_the_disc(shared: Path) -> None:
    case = painted_ct_case(
        shared / "data" / "ct_shapes" / "ts_s0328.labels.nii.gz", vessels="varied"
    )
    i = round(float((np.linalg.inv(case.affine) @ [*case.level_centre_lps, 1.0])[0]))
    assert ndimage.label(case.labels[i] == 6)[1] == 1
    assert ndimage.label(case.labels[i] == 8)[1] == 1


@pytest.mark.slow
def test_the_command_prepares_them_and_refuses_an_empty_folder(
    label_map: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cases"
    call = ["prepare", "--out", str(out), "--seed", "2", "--shapes"]
    done = CliRunner().invoke(app, [*call, str(label_map.parent)])
    assert done.exit_code == 0, done.output
    assert load_case(out / "shapes-box-1-2.npz").source == "shapes"
    refused = CliRunner().invoke(app, [*call, str(tmp_path)])
    assert isinstance(refused.exception, SourceMissing)


def test_a_map_without_the_disc_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "none.labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), file)
    with pytest.raises(SourceMissing, match="no voxel of the L4/5 disc"):
        read_label_map(file)
    with pytest.raises(SourceMissing, match="no such label map"):
        read_label_map(tmp_path / "absent.labels.nii.gz")


@pytest.mark.shared
@pytest.mark.slow
def test_in_real_shapes_the_vena_cava_lies_right_of_the_arteries(shared: Path) -> None:
    files = sorted((shared / "data" / "vessels_psoas").glob("*.labels.nii.gz"))
    assert len(files) == 4
    for file in files:
        case = painted_ct_case(file)
        assert _mean_lps(case, 8)[0] < _mean_lps(case, 6)[0], file.name
        assert ("ivc" in case.labelled) == (file.name != "ts_s0001.labels.nii.gz")
