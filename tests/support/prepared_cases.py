"""Prepared cases small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomseg.volume import build_affine
from training.data.cases import ALL_STRUCTURES, Case, save_case
from training.fit.augment import SPACING_MM


def _write_case(folder: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spider = name.startswith("spider")
    shape = (24, 32, 10) if spider else (24, 32, 40)
    labels = np.zeros(shape, np.uint8)
    deep = slice(8 + seed % 4 * 3, 20)  # no two slabs are of one person
    labels[14:20, deep, 2:8], labels[10:14, deep, 2:8], labels[4:10, deep, 2:8] = 1, 2, 3
    image = (labels * 40 + rng.normal(0, 5, shape)).astype(np.float32)
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (0.0, 0.0, 0.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ np.array([12.0, 14.0, 5.0]))
    save_case(
        Case(
            name,
            name,
            "spider" if spider else "phantom",
            image,
            labels,
            affine,
            ("l4", "ivd", "l5", "dura") if spider else ALL_STRUCTURES,
            (x, y, z),
            (0.0, 0.0, 1.0),
            {},
        ),
        folder,
    )


@pytest.fixture(scope="session")
def tiny_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms of all structures and two slabs of the spine, a few thousand voxels each."""
    folder = tmp_path_factory.mktemp("cases")
    for n in range(1, 4):
        _write_case(folder / "phantom", f"phantom-{n:06d}", n)
    for n in range(1, 3):
        _write_case(folder / "spider", f"spider-{n:03d}", 10 + n)
    return folder
