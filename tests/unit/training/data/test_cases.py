from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.data.cases import (
    ALL_STRUCTURES,
    Case,
    case_digest,
    crop_to_window,
    list_cases_in,
    load_case,
    save_case,
)
from training.data.prepare import phantom_case
from training.errors import CaseUnreadable


@pytest.fixture(scope="module")
def case() -> Case:
    return phantom_case(71, slices=24, matrix=96, full_field=True)


def test_a_case_comes_back_as_it_was_saved(case: Case, tmp_path: Path) -> None:
    path = save_case(case, tmp_path)
    back = load_case(path)
    assert np.array_equal(back.image, case.image)
    assert back.image.dtype == np.float32
    assert np.array_equal(back.labels, case.labels)
    assert back.labels.dtype == np.uint8
    assert np.allclose(back.affine, case.affine)
    assert back.labelled == ALL_STRUCTURES
    assert back.level_centre_lps == pytest.approx(case.level_centre_lps)
    assert dict(back.disc_centres) == {k: pytest.approx(v) for k, v in case.disc_centres.items()}
    assert list_cases_in(tmp_path) == [path]


def test_axes_are_canonical_and_the_level_is_the_labelled_disc(case: Case) -> None:
    directions = case.affine[:3, :3] / np.linalg.norm(case.affine[:3, :3], axis=0)
    assert np.allclose(directions, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    disc = np.argwhere(case.labels == 2).mean(axis=0)
    centre = case.affine[:3, :3] @ disc + case.affine[:3, 3]
    assert np.linalg.norm(centre - case.level_centre_lps) < 2.5
    assert case.level_normal[2] > 0.85
    assert np.linalg.norm(np.subtract(case.disc_centres["l45"], case.level_centre_lps)) < 3


def test_neighbouring_discs_lie_above_and_below(case: Case) -> None:
    z = {name: centre[2] for name, centre in case.disc_centres.items()}
    assert z["l34"] - z["l45"] == pytest.approx(36, abs=8)
    assert z["l45"] - z["l5s1"] == pytest.approx(33, abs=8)


def test_cropping_moves_the_affine_with_the_voxels(case: Case) -> None:
    cut = crop_to_window(case)
    assert cut.image.shape[0] == case.image.shape[0]
    assert cut.image.shape[1] < case.image.shape[1]
    shift = np.linalg.inv(case.affine) @ cut.affine[:, 3]
    i, j, k = np.round(shift[:3]).astype(int)
    assert cut.image[3, 5, 7] == case.image[3 + i, 5 + j, 7 + k]


def test_another_disc_can_stand_for_l45(case: Case, tmp_path: Path) -> None:
    assert case.other_discs() == []
    with pytest.raises(ValueError, match="complete spine"):
        case.at_disc(3)
    spine = np.zeros(case.labels.shape, np.uint8)
    for value, slices in ((1, (0, 4)), (202, (4, 6)), (2, (6, 10)), (203, (10, 12)), (3, (12, 16))):
        spine[slices[0] : slices[1]] = value
    spine[:, -3:] = 100
    centres = {"l5s1": (0.0, 0.0, -9.0), "l45": (0.0, 0.0, 0.0), "l34": (1.0, 2.0, 9.0)}
    whole = replace(case, spine=spine, disc_centres=centres)
    assert whole.other_discs() == [3]  # L5/S1 has no labelled body below
    upper = whole.at_disc(3)
    assert upper.level_centre_lps == (1.0, 2.0, 9.0)
    found = [upper.labels[n, 0, 0] for n in (2, 5, 8, 11, 14)]
    assert found == [0, 0, 3, 2, 1]  # of both bodies the upper one is called L4
    assert (upper.labels[:, -3:] == 4).all()
    back = load_case(save_case(whole, tmp_path))
    np.testing.assert_array_equal(back.spine, spine)
    assert case_digest(back) != case_digest(case)
    cut = whole.cropped((2, 0, 0), (16, *case.labels.shape[1:]))
    np.testing.assert_array_equal(cut.spine, spine[2:16])


@pytest.mark.slow
def test_every_second_phantom_has_random_contrast() -> None:
    even, odd = (phantom_case(seed, slices=8, matrix=48) for seed in (72, 73))
    assert even.card["contrast"]["randomised"] is False
    values = even.card["measurements"]
    assert set(values) == {"OC", "DAA", "DIVC", "PI"}
    assert np.linalg.norm(np.subtract(*values["DAA"]["points_lps"])) == pytest.approx(
        values["DAA"]["value_mm"], abs=1e-6
    )
    assert odd.card["contrast"]["randomised"] is True


def test_a_broken_case_is_refused_with_its_name(case: Case, tmp_path: Path) -> None:
    path = save_case(case, tmp_path)
    path.write_bytes(b"not a zip")
    with pytest.raises(CaseUnreadable, match=r"phantom-000071.*prepare it again"):
        load_case(path)
    with pytest.raises(CaseUnreadable, match="nowhere"):
        load_case(tmp_path / "nowhere.npz")
