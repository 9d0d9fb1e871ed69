from __future__ import annotations

import numpy as np
import pytest

from dicomseg.volume import AXIAL, Points, build_affine
from training.phantom.rasterise import KEEP, Coat, Raster, Stroke, level_fields, paint
from training.phantom.solids import Capsule, Ellipsoid, Shape, Tube, Union, Without


class Flat:
    """Every tissue has its number as signal."""

    def signal(self, tissue: str, box: tuple[slice, slice, slice]) -> float:
        assert len(box) == 3
        return float(tissue)


def raster(spacing_mm: float = 0.8, count: int = 40) -> Raster:
    origin = [shift - (count - 1) / 2 * spacing_mm for shift in (0.13, -0.21, 0.07)]
    return Raster((count, count, count), build_affine(np.asarray(AXIAL), [spacing_mm] * 3, origin))


def same(p: Points) -> Points:
    return p


BALL = Ellipsoid((0, 0, 0), (9, 9, 9))


def test_volume_of_a_ball_from_labels_and_from_partial_volume() -> None:
    made = paint([Stroke(BALL, (Coat(0, "1", 3),))], raster(), same, Flat())
    true_mm3 = 4 / 3 * np.pi * 9**3
    assert (made.labels == 3).sum() * 0.8**3 == pytest.approx(true_mm3, rel=0.01)
    assert made.image.sum() * 0.8**3 == pytest.approx(true_mm3, rel=0.01)


def test_a_later_stroke_covers_an_earlier_one_and_keep_leaves_the_label() -> None:
    small = Ellipsoid((0, 0, 0), (4, 4, 4))
    strokes = [
        Stroke(BALL, (Coat(0, "1", 3),)),
        Stroke(small, (Coat(0, "2", KEEP), Coat(1, "5", 6))),
    ]
    made = paint(strokes, raster(), same, Flat())
    centre = made.labels.shape[0] // 2
    assert made.labels[centre, centre, centre] == 6
    assert made.image[centre, centre, centre] == 5
    assert made.labels[centre, centre, centre + 4] == 3  # 3.6 mm out: in the coat that keeps


@pytest.mark.parametrize(
    "shape",
    [
        Tube(
            np.array([(-12, -3, 0, 5, 4, 20), (0, 0, 2, 4, 3, 0), (12, 4, -2, 5, 5, 10.0)]),
            0.3,
            0.2,
        ),
        Union((Capsule((-6, 0, -6), (6, 3, 6), (3, 2)), BALL), 1.5),
        Without(BALL, Capsule((0, 0, -12), (0, 0, 12), (3, 3))),
    ],
)
def test_levels_and_labels_are_one_geometry(shape: Shape) -> None:
    strokes = [Stroke(BALL, (Coat(0, "1", 3),)), Stroke(shape, (Coat(0, "1", 7),))]
    made = paint(strokes, raster(), same, Flat(), with_levels=True)
    assert made.levels is not None
    assert (np.argmin(made.levels, axis=0) == made.labels).mean() > 0.9999


def test_boxes_never_cut_a_shape() -> None:
    tilt = np.deg2rad(14)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    tube = Tube(np.array([(-30, -6, 0, 5, 4, 0), (0, 0, 2, 4, 3, 0), (30, 8, -2, 5, 5, 0.0)]))
    grid = raster()

    def bent(p: Points) -> Points:
        return np.asarray(p @ turn + 0.8 * np.sin(p[..., ::-1] / 12.0))

    made = paint([Stroke(tube, (Coat(0, "1", 2),))], grid, bent, Flat())
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    a = bent(index @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    direct = tube.field(a[..., 0], a[..., 1], a[..., 2]) < 0
    assert (direct != (made.labels == 2)).sum() <= 0.01 * direct.sum()


def test_raw_level_fields_have_the_zero_of_the_shape() -> None:
    x = np.linspace(-12, 12, 241)
    plane = np.stack([*np.meshgrid(x, x, indexing="ij"), np.zeros((241, 241))], axis=-1)
    f = level_fields([Stroke(BALL, (Coat(0, "1", 3),))], plane)
    apart = np.abs(np.hypot(plane[..., 0], plane[..., 1]) - 9) > 1e-6
    assert np.array_equal((f[3] < 0)[apart], (np.hypot(plane[..., 0], plane[..., 1]) < 9)[apart])
    assert np.array_equal(f[0] < 0, f[3] > 0)
