"""Rules of every labelled image, each broken alone."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.structures import BY_ID
from dicomseg.volume import AXIAL, build_affine
from training.data.prepare import to_sitk_image
from training.errors import ImportRefused
from training.importing.rules import check_anatomy, check_extent, check_voxels

SPACING = (2.0, 1.0, 1.0)
AFFINE = build_affine(AXIAL, SPACING, (5.0, -7.0, 11.0))


def ramp(shape: tuple[int, int, int] = (40, 60, 60)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_an_image_keeps_its_place_as_a_sitk_image() -> None:
    image = to_sitk_image(ramp(), AFFINE)
    assert image.GetSize() == (60, 60, 40)
    assert image.GetSpacing() == (1.0, 1.0, 2.0)
    i, j, k = 3, 4, 5
    here = AFFINE @ np.array([i, j, k, 1.0])
    assert image.TransformIndexToPhysicalPoint((k, j, i)) == pytest.approx(tuple(here[:3]))
    assert image.GetPixel(k, j, i) == ramp()[i, j, k]


def test_values_must_be_finite_and_differ() -> None:
    check_voxels(to_sitk_image(ramp(), AFFINE))
    bad = ramp()
    bad[0, 0, :2] = (np.nan, np.inf)
    with pytest.raises(ImportRefused, match="rule finite: 2 of 144000 voxels"):
        check_voxels(to_sitk_image(bad, AFFINE))
    with pytest.raises(ImportRefused, match="rule not-constant: all 144000 voxels are 7"):
        check_voxels(to_sitk_image(np.full_like(bad, 7), AFFINE))


def test_a_volume_has_the_extent_of_a_patient() -> None:
    check_extent(to_sitk_image(ramp(), AFFINE))
    with pytest.raises(ImportRefused, match="rule large-enough: the volume is 60 × 60 × 2 mm"):
        check_extent(to_sitk_image(ramp((1, 60, 60)), AFFINE))
    with pytest.raises(ImportRefused, match="rule large-enough: the volume is 60 × 60 × 800 mm"):
        check_extent(to_sitk_image(ramp((400, 60, 60)), AFFINE))


def test_anatomy_is_upright_and_not_mirrored() -> None:
    labels = np.zeros((12, 4, 4), np.uint8)
    for n, name in enumerate(("l5", "ivd", "l4")):  # index i counts to the head
        labels[4 * n : 4 * n + 4] = BY_ID[name].value  # type: ignore[index]
    check_anatomy(labels, {("pm", "left"): 30.0, ("pm", "right"): -30.0}, AFFINE)
    with pytest.raises(ImportRefused, match=r"rule sides: pm.left lies at x = -30.0 mm, right of"):
        check_anatomy(labels, {("pm", "left"): -30.0, ("pm", "right"): 30.0}, AFFINE)
    with pytest.raises(ImportRefused, match="rule order: L4 lies below L5"):
        check_anatomy(labels[::-1], {}, AFFINE)
    with pytest.raises(ImportRefused, match=r"rule level: the L4/5 disc \(ivd\) has no voxels"):
        check_anatomy(np.where(labels == BY_ID["ivd"].value, 0, labels), {}, AFFINE)
    check_anatomy(labels, {("pm", "left"): -30.0}, AFFINE)  # one side alone is not compared
