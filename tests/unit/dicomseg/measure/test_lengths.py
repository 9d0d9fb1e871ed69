"""Lengths of outlines against closed forms, and the direction of a diameter against noise."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Point, Polygon

from dicomseg.measure.lengths import max_feret, min_feret


def _ellipse(
    half_a: float, half_b: float, turned_deg: float, noise_mm: float, seed: int
) -> Polygon:
    """An outline with a vertex every 0.3 mm, each a little off, as the contour of a raster has them."""
    t = np.linspace(0, 2 * np.pi, round(2 * np.pi * half_a / 0.3), endpoint=False)
    rng = np.random.default_rng(seed)
    radial = 1 + rng.normal(0, noise_mm, len(t)) / half_a
    a, b = half_a * np.cos(t) * radial, half_b * np.sin(t) * radial
    turn = np.deg2rad(turned_deg)
    return Polygon(
        np.stack([a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)], axis=1)
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_ends_of_a_diameter_stand_where_they_are_in_spite_of_noise(seed: int) -> None:
    turned = 17.0 * seed
    span = max_feret(_ellipse(8.0, 6.8, turned, 0.02, seed))
    direction = np.array([np.cos(np.deg2rad(turned)), np.sin(np.deg2rad(turned))])
    ends = np.array([span.start_ab, span.end_ab])
    off = min(
        np.abs(order - np.array([8.0 * direction, -8.0 * direction])).max()
        for order in (ends, ends[::-1])
    )
    assert off < 0.2
    assert span.length_mm == pytest.approx(16.0, abs=0.06)


def test_diameters_of_two_merged_circles_and_of_a_small_one() -> None:
    merged = Point(-4, 0).buffer(5.0, 64).union(Point(4, 0).buffer(5.0, 64))
    assert max_feret(merged).length_mm == pytest.approx(18.0, abs=0.05)
    assert min_feret(merged).length_mm == pytest.approx(10.0, abs=0.02)
    small = Point(2, 1).buffer(1.6, 64)
    assert max_feret(small).length_mm == pytest.approx(3.2, abs=0.02)


def test_the_ends_lie_on_the_outline() -> None:
    outline = _ellipse(9.0, 5.0, 40.0, 0.05, 1)
    span = max_feret(outline)
    assert outline.exterior.distance(Point(span.start_ab)) < 1e-9
    assert outline.exterior.distance(Point(span.end_ab)) < 1e-9
