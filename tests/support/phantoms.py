"""Phantoms and real pixels as DICOM series on disk, made once for all tests of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomseg.volume import Volume


@dataclass
class Truth:
    """A coded phantom: its files and everything that is known of it."""

    folder: Path
    facts: dict[str, Any]
    labels: Volume

    @property
    def series(self) -> Path:
        """Folder of the T2 SPACE series."""
        return self.folder / "t2_space"

    @property
    def files(self) -> list[Path]:
        """Its slices."""
        return sorted(self.series.glob("*.dcm"))

    @property
    def centre_lps(self) -> np.ndarray:
        """Centre of the disc in mm."""
        return np.array(self.facts["plane"]["point_lps"])

    @cached_property
    def near_disc(self) -> tuple[np.ndarray, np.ndarray]:
        """Every seventh voxel within the paper's window about the disc: indices (n, 3), LPS points (n, 3)."""
        index = np.argwhere(self.labels.array >= 0)[::7]
        lps = self.labels.to_patient(index)
        near = np.all(np.abs(lps - self.centre_lps) < (62.0, 80.0, 18.0), axis=1)
        return index[near], lps[near]


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """An oblique, intensity-coded phantom: asymmetric along all three axes, its truth in closed form."""
    return _phantom(tmp_path_factory.mktemp("coded"), 18, coded=True, oblique=True)


@pytest.fixture(scope="session")
def small_coded(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """The same on an eighth of the voxels, for what needs a result but not its last digit."""
    small = {"slices": 64, "matrix": 160}
    return _phantom(tmp_path_factory.mktemp("small"), 18, coded=True, oblique=True, **small)


def _phantom(out: Path, seed: int, **options: Any) -> Truth:
    from training.phantom.study import StudyOptions, write_study

    folder = write_study(out, seed, StudyOptions(**options))
    with np.load(folder / "labels.npz") as arrays:
        labels = Volume(arrays["labels"], arrays["affine"])
    facts = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return Truth(folder, facts, labels)


@pytest.fixture(scope="session")
def wrap(shared: Path) -> Callable[..., list[Path]]:
    """Write real pixels as a DICOM series with the tool beside the data."""

    def write(volume: str, out: Path, *options: str) -> list[Path]:
        subprocess.run(
            [
                sys.executable,
                str(shared / "tools" / "spider_to_dicom.py"),
                str(shared / "data" / volume),
                str(out),
                *options,
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        return sorted(out.glob("*.dcm"))

    return write
