"""Where lines leave a structure, and how sure the tilt of a fitted face is."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.measure.faces import exits, fit_face, tilt_error_deg

T = np.arange(0.0, 10.0, 0.5)


def logits(*margins: list[float]) -> np.ndarray:
    """Two classes, of which the second has these margins on every line."""
    own = np.array(margins, np.float32)
    return np.stack([np.zeros_like(own), own])


def test_a_line_is_left_where_the_margin_crosses_zero() -> None:
    ramp = (6.2 - T).tolist()
    never, always = [-1.0] * len(T), [1.0] * len(T)
    found = exits(logits(ramp, never, always), T, 1, None)
    assert found[0] == pytest.approx(6.2)
    assert np.isnan(found[1:]).all()


def test_what_must_follow_decides_and_the_gain_moves_the_exit() -> None:
    ramp = logits((6.2 - T).tolist())
    assert exits(ramp, T, 1, 0)[0] == pytest.approx(6.2)
    three = np.concatenate([ramp, np.full_like(ramp[:1], -9.0)])
    assert np.isnan(exits(three, T, 1, 2)[0])
    assert exits(ramp, T, 1, None, gain=2.0)[0] == pytest.approx(8.2)
    assert exits(ramp, T, 1, None, gain=-2.0)[0] == pytest.approx(4.2)
    assert ramp[1, 0, 0] == np.float32(6.2), "the input is left as it is"


def test_a_plane_is_fitted_without_its_outliers_and_its_tilt_has_an_error() -> None:
    x, y = (v.ravel() for v in np.meshgrid(np.arange(-20, 21, 2.0), np.arange(-15, 16, 2.0)))
    rng = np.random.default_rng(1)
    flat = np.column_stack([x, y, 0.1 * y])
    rough = flat + np.array([0, 0, 1.0]) * rng.normal(0, 0.5, len(x))[:, None]
    torn = rough.copy()
    torn[rng.choice(len(x), 10, replace=False), 2] += 9.0
    up, along = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    for face, within in ((flat, 1e-6), (rough, 0.6), (torn, 0.8)):
        _, normal = fit_face(face, up)
        tilt = np.rad2deg(np.arctan2(normal[1], normal[2]))
        assert tilt == pytest.approx(-np.rad2deg(np.arctan(0.1)), abs=within)
    normal = fit_face(flat, up)[1]
    assert tilt_error_deg(flat, normal, along, 2.0) == pytest.approx(0.0, abs=1e-6)
    few, many = (tilt_error_deg(rough, fit_face(rough, up)[1], along, mm) for mm in (1.0, 2.0))
    assert few == pytest.approx(2 * many)
    # 0.5 mm of scatter over ±12 mm at 25 independent points
    assert 0.3 < many < 1.5
