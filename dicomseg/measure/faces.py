"""Faces of the disc and end plates: where lines leave a structure between voxels, and the plane of such points."""

from __future__ import annotations

from typing import Final

import numpy as np

from dicomseg.volume import Array, Points

STEP_MM: Final = 0.5
"""Step along a line; the crossing is interpolated between two steps."""

BEYOND_MM: Final = 4.0
"""How far the lines run past a structure: what must follow lies within this distance, so that a layer of unlabelled
end plate does not hide it."""

CORE_SHARE: Final = 0.8
"""Share of a face's radius that its plane is fitted to: rims are rounded, torn and grown over."""

INDEPENDENT_MM: Final = 5.0
"""Points of a face nearer than this are off in the same direction: an outline errs over the width of a few voxels."""


def exits(logits: Array, t: Array, own: int, following: int | None, gain: float = 0.0) -> Points:
    """Find where each line leaves the class `own` for good, in the unit of `t`; NaN where it does not.

    logits: (channels, lines, steps) at t (steps,). following: class that must come within `BEYOND_MM`, None for any.
    gain: added to the logits of `own`. The crossing is that of the first class to rise above it, each taken linearly
    between two steps: the margin itself has a bend there, which would move the face by a tenth of a step.
    """
    if gain:
        logits = logits.copy()
        logits[own] += gain
    best = logits.argmax(axis=0)
    inside = best == own
    lines, steps = np.arange(len(best)), best.shape[1]
    last = steps - 1 - inside[:, ::-1].argmax(axis=1)
    good = inside.any(axis=1) & (last < steps - 1)
    if following is not None:
        ahead = np.minimum(last[:, None] + 1 + np.arange(int(BEYOND_MM / STEP_MM)), steps - 1)
        good &= (best[lines[:, None], ahead] == following).any(axis=1)
    after_it = np.minimum(last + 1, steps - 1)
    before = logits[own, lines, last] - logits[:, lines, last]
    after = logits[own, lines, after_it] - logits[:, lines, after_it]
    overtaken = (after < 0) & (before > after)
    share = np.divide(before, before - after, out=np.ones_like(before), where=overtaken).min(axis=0)
    return np.where(good, t[last] + (t[after_it] - t[last]) * share, np.nan)


def least_axis(points: Points, towards: Points) -> Points:
    """Return the unit axis of least variance (total least squares), signed to one side."""
    covariance = np.cov(points.T)
    axis: Points = np.linalg.eigh(covariance)[1][:, 0]
    return axis if axis @ towards >= 0 else -axis


def fit_face(face: Points, towards: Points) -> tuple[Points, Points]:
    """Fit a plane to a face's core by total least squares without outliers: (centroid, unit normal).

    face: (lines, 3), NaN where a line has no point. towards: the side of the normal.
    """
    points = _core(face[np.isfinite(face[:, 0])])
    kept = points
    centre, normal = points.mean(axis=0), towards
    for _ in range(4):
        centre = kept.mean(axis=0)
        normal = least_axis(kept, towards)
        residual = np.abs((points - centre) @ normal)
        kept = points[residual < max(1.2, 1.5 * float(np.median(residual)))]
        if len(kept) < 3:
            break
    return centre, normal


def tilt_error_deg(face: Points, normal: Points, along: Points, line_mm: float) -> float:
    """Return the standard uncertainty (k = 1) in degrees of a fitted face's tilt in one direction.

    From the scatter of its core about the plane, one independent point per `INDEPENDENT_MM` squared. line_mm: distance
    of the lines that the face was found on.
    """
    points = _core(face[np.isfinite(face[:, 0])])
    away = points - points.mean(axis=0)
    scatter = float(np.std(away @ normal))
    count = max(len(points) * (line_mm / INDEPENDENT_MM) ** 2, 1.0)
    return float(np.rad2deg(scatter / (np.std(away @ along) * np.sqrt(count))))


def _core(points: Points) -> Points:
    """Return the points within `CORE_SHARE` of the rim of an ellipse that has their spread."""
    away = points - points.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(away.T))
    # the variance along a semi-axis r of an evenly covered ellipse is r²/4
    share = ((away @ axes[:, 1:]) ** 2 / (4 * values[1:])).sum(axis=1)
    core: Points = points[share <= CORE_SHARE**2]
    return core
