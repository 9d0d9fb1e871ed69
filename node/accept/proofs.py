"""Geometry and values of what came back, as checks (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.structures import BY_ID
from dicomseg.volume import Volume
from node.accept import geometry
from node.accept.checks import Check, passes
from node.phantom.truth import COVERAGE, LEVEL_MM, Comparison
from node.verify import objects

GEOMETRY: Final = "Left and right"
VALUES: Final = "Values"
_MIRRORED: Final = "do not use this archive for planning before its vendor explains it"
_PLACES: Final = ("aa", "ivc", "dura")
"""Structures that lie off the middle, or in it, and have no sides."""


def image_check(image: Volume, labels: Volume) -> Check:
    """Check that the returned image shows the phantom and not its mirror image."""
    fit = geometry.fit_sides(image, labels)
    seen = f"r = {fit.as_is:.2f} as it is, {fit.mirrored:.2f} mirrored"
    return Check(
        GEOMETRY, "Images: the asymmetric phantom is not mirrored", "fits better than its mirror image", seen,
        passes(fit.right), "" if fit.right else _MIRRORED, needed=True,
    )  # fmt: skip


def segment_checks(seg: Dataset, labels: Volume) -> list[Check]:
    """Check that the returned segments lie where the structures of the phantom are."""
    points = geometry.segment_points(seg)
    every = np.concatenate(list(points.values()))
    heights = (float(every[:, 2].min()), float(every[:, 2].max()))
    true, found = geometry.true_centres(labels, heights), geometry.structure_centres(points)
    checks = [_place(name, found[name], true[name]) for name in _PLACES if name in found and name in true]  # fmt: skip
    swapped = geometry.sides_swapped(points)
    seen = "left is left" if not swapped else f"exchanged: {', '.join(swapped)}"
    checks.append(
        Check(
            GEOMETRY,
            "Segments: left ones are to the left of right ones",
            "left is left",
            seen,
            passes(not swapped),
            _MIRRORED if swapped else "",
        )
    )
    return checks


def _place(name: str, found: Any, true: Any) -> Check:
    label = BY_ID[name].label  # type: ignore[index]
    off_mm = float(np.linalg.norm(found - true))
    middle = "left" if true[0] > 0 else "right"
    good = off_mm <= geometry.CENTRE_MM
    return Check(
        GEOMETRY, f"Segment: {label}", f"at x = {true[0]:+.1f} mm ({middle}), within {geometry.CENTRE_MM:.0f} mm",
        f"x = {found[0]:+.1f} mm, {off_mm:.1f} mm off", passes(good), "" if good else _MIRRORED,
    )  # fmt: skip


# ---- values --------------------------------------------------------------------------------------


def value_checks(
    comparisons: Sequence[Comparison], reported: Mapping[str, float | None]
) -> list[Check]:
    """Check the returned values against the truth. reported: value of each name in the returned report, mm."""
    checks = []
    for one in comparisons:
        value = reported.get(one.name)
        expected = f"{one.true_mm:.1f} mm, within {COVERAGE:g} × {one.uncertainty_mm:.1f} mm"
        if value is None:
            seen = one.reason or "not in the returned report"
            checks.append(
                Check(VALUES, one.name, expected, seen, "failed", "see the result's page")
            )
            continue
        off_mm = value - one.true_mm
        good = abs(off_mm) <= one.limit_mm
        checks.append(Check(
            VALUES, one.name, expected, f"{value:.1f} mm ({off_mm:+.1f} mm)", passes(good),
            "" if good else "the bundle in service does not measure the phantom; do not use it",
        ))  # fmt: skip
    return checks


def level_check(off_mm: float) -> Check:
    """Check the centre of the L4/5 disc."""
    return Check(
        VALUES, "Centre of the L4/5 disc", f"within {LEVEL_MM:.0f} mm of the true one", f"{off_mm:.1f} mm off",
        passes(off_mm <= LEVEL_MM), "" if off_mm <= LEVEL_MM else "the bundle finds another level; do not use it",
    )  # fmt: skip


def reported_values(report: Dataset) -> dict[str, float | None]:
    """Return the first value of each measurement group of a report, by the name of the quantity."""
    found: dict[str, float | None] = {}
    for group in objects.groups(report):
        numbers = objects.numbers(group)
        if numbers:
            name = objects.quantity_name(objects.tracking(group))
            found.setdefault(name, objects.value_of(numbers[0]))
    return found
