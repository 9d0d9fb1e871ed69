"""Which disc a draw is about: L4/5, or another one that serves as it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomseg.volume import build_affine
from training.data.cases import Case, save_case
from training.fit.augment import SPACING_MM, Strength
from training.fit.recipe import Recipe
from training.fit.sampling import draw_sample

SHAPE = (96, 24, 16)
STILL = Strength(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    spine = np.zeros(SHAPE, np.uint8)
    for value, first in ((1, 0), (202, 24), (2, 32), (203, 56), (3, 64)):
        spine[first : first + (8 if value > 200 else 24)] = value
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (0.0, 0.0, 0.0))

    def centre(slice_number: float) -> tuple[float, float, float]:
        x, y, z = affine[:3, :3] @ [slice_number, 11.5, 7.5] + affine[:3, 3]
        return float(x), float(y), float(z)

    case = Case(
        "spider-001",
        "p",
        "spider",
        np.random.default_rng(0).normal(size=SHAPE).astype(np.float32),
        np.zeros(SHAPE, np.uint8),
        affine,
        ("l4", "ivd", "l5", "dura"),
        centre(27.5),
        (0.0, 0.0, 1.0),
        {"l45": centre(27.5), "l34": centre(59.5)},
        spine=spine,
    )
    return save_case(replace(case, labels=case.at_disc(2).labels), tmp_path)


@pytest.mark.parametrize(("share", "disc_at"), [(0.0, 27.5), (1.0, 59.5)])
def test_a_draw_about_another_disc_is_told_where_that_one_lies(
    path: Path, share: float, disc_at: float
) -> None:
    recipe = Recipe(narrow=(64, 24, 16), other_discs=share, strength=STILL)
    for number in range(4):
        case, sample = draw_sample(recipe, [], [path], number)
        inside = sample.valid[0].numpy() > 0
        disc = np.argwhere((sample.labels[0].numpy() == 2) & inside)[:, 0].mean()
        height = (
            sample.coordinates[0, 0].mean((1, 2)).numpy()
        )  # rises with the slice, 0 at the level
        position = np.interp(0.0, height, np.arange(len(height)) * 4 + 1.5)
        assert position == pytest.approx(disc, abs=0.6)
        above = np.argwhere(sample.labels[0].numpy() == 1)[:, 0].mean()
        assert above > disc > np.argwhere(sample.labels[0].numpy() == 3)[:, 0].mean()
        level = np.linalg.solve(case.affine, [*case.level_centre_lps, 1.0])[0]
        assert level == pytest.approx(disc_at)
