"""Pictures of cases: what makes two of them one person's, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicomseg.volume import Array, Points, build_affine
from training.data.likeness import alike, picture

AXES = np.eye(3)[:, ::-1]


def person(
    seed: int, spacing: tuple[float, float, float] = (0.8, 0.75, 0.75), shift: float = 0.0
) -> dict[str, Any]:
    """A picture of two bodies, a disc and a canal on any grid; sizes, slopes and bends follow from the seed."""
    rng = np.random.default_rng(seed)
    depth, high, disc, canal = rng.uniform((12, 10, 3, 8), (19, 15, 6, 16))
    slope, bend = rng.uniform((-0.4, -0.008), (0.4, 0.008))
    shape = tuple(int(n) for n in np.array([120.0, 100.0, 60.0]) / spacing)
    affine = build_affine(AXES, spacing, (-30.0 + shift, -50.0, -60.0))
    zyx = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) * spacing
    z, y, x = (zyx[..., axis] - (60.0, 50.0, 30.0)[axis] for axis in range(3))
    z, y = z + slope * y, y - bend * z**2
    labels = np.zeros(shape, np.uint8)
    column = np.abs(y) < depth
    labels[column & (np.abs(z) < disc)] = 2
    labels[column & (z >= disc) & (z < disc + 2 * high)] = 1
    labels[column & (z <= -disc) & (z > -disc - 2 * high)] = 3
    labels[(np.abs(x) < 10) & (y > depth) & (y < depth + canal)] = 4
    weights = rng.normal(0, 1, 6)
    image = labels * 20.0 + sum(w * f for w, f in zip(weights, (z, y, x, z * y / 20, z * z / 20, y * x / 20), strict=True))  # fmt: skip
    return picture(image, labels, affine, (shift, 0.0, 0.0))


def pair(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [why for _, _, why in alike({"a": a, "b": b})]


def test_labels_of_one_person_agree_on_other_grids_and_at_another_place() -> None:
    for seed in range(6):
        ours = person(seed)
        assert pair(ours, person(seed)) == ["equal images"]
        other = person(seed, (2.0, 0.75, 0.75), 40.0) | {"image": person(seed + 50)["image"]}
        (why,) = pair(ours, other)
        assert why.startswith("labels agree, Dice")


def test_other_persons_are_other_persons() -> None:
    pictures = {f"p{seed}": person(seed) for seed in range(12)}
    assert alike(pictures) == []


def _whole(image: Array, affine: Points, labels: Array | None = None) -> dict[str, Any]:
    return picture(image, np.zeros(image.shape, np.uint8) if labels is None else labels, affine, (0.0, 0.0, 0.0))  # fmt: skip


def test_an_image_is_itself_in_other_units_and_another_rounding() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(100, 40, (48, 40, 20)).cumsum(axis=0)
    affine = build_affine(AXES, (0.8, 0.75, 0.75), (0.0, 0.0, 0.0))
    ours = _whole(image, affine)
    assert pair(ours, _whole((image * 3.7 + 12).astype(np.float32), affine)) == ["equal images"]
    assert pair(ours, _whole(np.rint(image / 20), affine)) == ["equal images"]
    assert pair(ours, _whole(image[::-1], affine)) == []
    assert pair(ours, _whole(image, affine @ np.diag([1.2, 1, 1, 1]))) == []


@pytest.mark.parametrize("damage", [{}, {"labels": "?"}, {"image": "AAAA"}, {"extent_mm": [1]}])
def test_a_picture_that_is_damaged_or_absent_is_not_compared(damage: dict[str, Any]) -> None:
    ours = person(1)
    broken = {**ours, **damage} if damage else {}
    assert pair(ours, broken) == []


def test_one_structure_alone_must_agree_better() -> None:
    ours, other = (np.zeros((60, 60, 20), np.uint8) for _ in range(2))
    ours[24:36, 15:45], other[24:36, 19:49] = 2, 2
    affine = build_affine(AXES, (1.0, 1.0, 1.0), (-10.0, -30.0, -30.0))
    rng = np.random.default_rng(1)
    images = rng.normal(0, 1, (2, 60, 60, 20))
    one, two = (_whole(i, affine, n) for i, n in zip(images, (ours, other), strict=True))
    assert pair(one, two) == []
    assert pair(one, _whole(images[1], affine, ours)) == ["labels agree, Dice 1.00"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 5.0])
def test_an_image_of_no_use_is_like_no_other(value: float) -> None:
    affine = build_affine(AXES, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    flat = _whole(np.full((40, 40, 10), value), affine)
    assert pair(flat, flat) == []
