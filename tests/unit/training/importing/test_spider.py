"""SPIDER as published: numbers from below, arches, vertebrae in view in part, several series of one person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from tests.support.paths import SHARED
from tests.support.whole_spines import (
    BODY_HALF,
    FIRST_MM,
    STEP_MM,
    front_mm,
    painted_spine,
    points_of_structure,
    write_published,
)
from training.cli.app import app
from training.data.cases import Case, list_cases_in, load_case
from training.data.prepare import SPIDER_STRUCTURES, build_axial_grid, prepare_spider, spider_case
from training.errors import SourceMissing
from training.importing.spider import TABLE, patient_of
from training.importing.spine import arches_of


def run(folder: Path, *options: str) -> tuple[int, str]:
    volumes = [str(folder / "images"), str(folder / "masks")]
    call = ["import", "--out", str(folder / "out"), "--licence", "CC BY 4.0", "--volumes", *volumes]
    done = CliRunner().invoke(app, [*call, "--labels", "spider", *options])
    code = getattr(done.exception, "exit_code", done.exit_code)
    return code, done.output + str(done.exception or "")


def cases(folder: Path) -> list[Case]:
    return [load_case(path) for path in list_cases_in(folder / "out")]


def test_published_masks_become_bodies_disc_canal_and_all_other_levels(tmp_path: Path) -> None:
    write_published(tmp_path, {"7_t2": painted_spine()})
    code, said = run(tmp_path)
    assert code == 0, said
    (case,) = cases(tmp_path)
    assert case.labelled == SPIDER_STRUCTURES
    assert (case.source, case.patient_id) == ("spider", "SPIDER-007")
    for name, level in (("l5", 0), ("l4", 1)):
        points = points_of_structure(case, name)
        middle = FIRST_MM + STEP_MM * level
        assert points[:, 2].mean() == pytest.approx(middle, abs=1.0), name
        behind = points[:, 1] - front_mm(points[:, 2])
        assert behind.max() < BODY_HALF[1] + 2, name  # no pedicle, lamina or process
        volume = len(points) * abs(np.linalg.det(case.affine[:3, :3]))
        assert volume == pytest.approx(8 * np.prod(BODY_HALF), rel=0.08), name
    assert case.level_centre_lps[2] == pytest.approx(FIRST_MM + STEP_MM / 2, abs=1.0)
    z = [case.disc_centres[name][2] for name in ("l5s1", "l45", "l34", "l23", "l12")]
    assert z == pytest.approx([FIRST_MM + STEP_MM * (n - 0.5) for n in range(5)], abs=1.0)
    assert case.other_discs() == [3, 4, 5]
    upper = case.at_disc(3)
    assert upper.labelled == SPIDER_STRUCTURES
    assert "arches are cut off, " in said
    assert case.names_all_discs()


def test_a_mask_without_arches_comes_through_as_it_is(tmp_path: Path) -> None:
    for kind in (True, False):
        write_published(tmp_path / str(kind), {"7_t2": painted_spine(arches=kind)})
        assert run(tmp_path / str(kind))[0] == 0
    ours, plain = (cases(tmp_path / str(kind))[0].labels for kind in (True, False))
    for value in (1, 2, 3, 4):
        both = ((ours == value) & (plain == value)).sum()
        assert 2 * both / ((ours == value).sum() + (plain == value).sum()) > 0.97, value


def test_a_vertebra_in_view_in_part_is_that_vertebra(tmp_path: Path) -> None:
    write_published(tmp_path / "a", {"7_t2": painted_spine(partly=1)})
    write_published(tmp_path / "b", {"7_t2": painted_spine()})
    assert run(tmp_path / "a")[0] == run(tmp_path / "b")[0] == 0
    assert np.array_equal(cases(tmp_path / "a")[0].labels, cases(tmp_path / "b")[0].labels)
    assert TABLE["125"].structure is TABLE["210"].structure is None
    assert not TABLE["125"].is_drawn
    assert TABLE["103"].spine == 3


def test_t1_is_left_out_and_all_series_of_a_number_are_one_person(tmp_path: Path) -> None:
    names = ["12_t1", "12_t2", "12_t2_SPACE"]
    write_published(tmp_path, {name: painted_spine(seed=n) for n, name in enumerate(names)})
    code, said = run(tmp_path)
    assert code == 0, said
    assert "1 T1 images are not imported" in said
    assert [case.patient_id for case in cases(tmp_path)] == ["SPIDER-012"] * 2
    assert patient_of("012_T2_space") == "SPIDER-012"
    assert patient_of("study of 12_t2") == ""


def test_a_mask_without_a_canal_is_refused_and_the_others_are_imported(tmp_path: Path) -> None:
    image, mask = painted_spine()
    bare = SimpleITK.Cast(mask, SimpleITK.sitkInt16) * SimpleITK.Cast(
        mask != 100, SimpleITK.sitkInt16
    )
    write_published(tmp_path, {"1_t2": (image, bare), "2_t2": painted_spine(seed=5)})
    code, said = run(tmp_path)
    assert code == 4
    assert "1_t2.mha: rule arches: no spinal canal is drawn" in said
    assert [case.patient_id for case in cases(tmp_path)] == ["SPIDER-002"]


def test_prepare_says_how_the_published_files_are_imported(tmp_path: Path) -> None:
    write_published(tmp_path, {"1_t2": painted_spine()})
    with pytest.raises(SourceMissing, match=r"--volumes \S*images \S*masks --labels spider"):
        prepare_spider(tmp_path, tmp_path / "out")


@pytest.mark.shared
@pytest.mark.parametrize("subject", ["5", "11", "45"])
def test_arches_of_real_masks_are_cut_where_the_reduced_copy_cuts(subject: str) -> None:
    """The reduced copy has posterior elements as 50; each voxel of them goes back to the nearest body."""
    from scipy import ndimage

    folder = SHARED / "data" / "spider"
    if not folder.is_dir():
        pytest.skip("the SPIDER volumes are not beside the repository")
    image = SimpleITK.ReadImage(str(folder / f"{subject}.labels.nii.gz"))
    grid = build_axial_grid(image)
    values = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    )
    body = (values > 0) & (values < 10)
    nearest = ndimage.distance_transform_edt(~body, return_distances=False, return_indices=True)
    published = np.where(values == 50, values[tuple(nearest)], values)
    published[arches_of(published)] = 0
    reduced = spider_case(folder, subject).spine
    assert reduced is not None
    for value in (1, 2):
        both = ((published == value) & (reduced == value)).sum()
        assert 2 * both / ((published == value).sum() + (reduced == value).sum()) > 0.97
