"""The shipped level finder on real volumes beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Volume, build_affine
from model.bundle.card import CARD, default_path
from model.bundle.load import LoadedModel, load_bundle
from tests.support.paths import SHARED

DATA = SHARED / "data"


def read_nifti(path: Path) -> Volume:
    """A NIfTI volume in LPS; slowest axis first."""
    if not path.exists():
        pytest.skip(f"{path.parent.name}/{path.name} is not beside the repository")
    image = SimpleITK.ReadImage(str(path))
    directions = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    affine = build_affine(directions, image.GetSpacing()[::-1], image.GetOrigin())
    return Volume(SimpleITK.GetArrayFromImage(image).astype(np.float32), affine)


@pytest.fixture(scope="module")
def shipped() -> LoadedModel:
    if not (default_path() / CARD).exists():
        pytest.skip("no bundle is shipped with this checkout")
    return load_bundle(default_path(), device="cpu", threads=1)


@pytest.mark.shared
@pytest.mark.parametrize("subject", ["5", "45", "110", "200"])
def test_l45_is_found_in_patients_that_were_not_trained_on(
    subject: str, shipped: LoadedModel
) -> None:
    volume = read_nifti(DATA / "spider" / f"{subject}.image.nii.gz")
    labels = read_nifti(DATA / "spider" / f"{subject}.l45_labels.nii.gz")
    truth = labels.to_patient(np.argwhere(labels.array == 2).mean(axis=0))
    level = shipped.finder.locate(volume)
    assert isinstance(level, Level)
    assert np.linalg.norm(np.array(level.centre_lps) - truth) < 5.0
    assert level.normal[2] > 0.7


@pytest.mark.shared
def test_l45_is_found_in_a_wide_volume_of_another_scanner(shipped: LoadedModel) -> None:
    volume = read_nifti(DATA / "other" / "t2_lumbar.nii.gz")
    bodies = read_nifti(DATA / "other" / "t2_lumbar.labels.nii.gz")
    l5, l4 = (bodies.to_patient(np.argwhere(bodies.array == n).mean(axis=0)) for n in (1, 2))
    level = shipped.finder.locate(volume)
    assert isinstance(level, Level)
    assert np.linalg.norm(np.array(level.centre_lps) - (l4 + l5) / 2) < 8.0


@pytest.mark.shared
def test_a_cervical_volume_shows_no_l45(shipped: LoadedModel) -> None:
    volume = read_nifti(DATA / "other" / "t2_cervical.nii.gz")
    assert isinstance(shipped.finder.locate(volume), NotInView)


@pytest.mark.shared
def test_a_spine_without_its_sacrum_is_never_taken_without_a_warning(
    shipped: LoadedModel,
) -> None:
    answer = shipped.finder.locate(read_nifti(DATA / "other" / "t2_lumbar_upper.nii.gz"))
    assert isinstance(answer, NotInView) or answer.warnings
