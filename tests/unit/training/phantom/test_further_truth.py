"""Further truths: what is measured on a phantom's exact surfaces agrees with them, and they are consistent."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from dicomseg.measure.measure import measure
from dicomseg.result import Measurements
from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
from dicomseg.volume import Volume
from training.phantom.further_truth import measure_further_truth
from training.phantom.person import VesselKind
from training.phantom.phantom import build, draw_anatomy
from training.phantom.truth import disc_plane, measure_truth

WITHIN = {"mm": 0.25, "mm2": 8.0, "deg": 1.0, "ratio": 0.02}
"""The surfaces on a grid of 1.6 mm; two heights of forks apart, which are counted every 2 mm."""


@cache
def exact(
    seed: int, vessels: VesselKind = "usual", *, slices: int = 64, matrix: int = 160
) -> tuple[Measurements, dict[str, Any]]:
    """Values of a phantom's own signed distances as logits, and its truth."""
    drawn = build(seed, slices=slices, matrix=matrix, with_levels=True, vessels=vessels)
    assert drawn.levels is not None
    plane = disc_plane(drawn.anatomy)
    labels = Volume(drawn.labels, drawn.affine, "1.2.3")
    sides, x = np.zeros_like(drawn.labels), labels.to_patient(np.argwhere(drawn.labels == 7))[:, 0]
    sides[drawn.labels == 7] = np.where(x > plane.point_lps[0], 8, 9)
    seg = Segmentation(
        Level(plane.point_lps, plane.normal, 1.0),
        Labels(labels, np.ones(labels.shape, bool)),
        labels.with_array(sides),
        Scores(np.clip(-drawn.levels / 0.8, -30, 30).astype(np.float32), drawn.affine),
        EngineInfo("phantom", "1", "0", "none", "float32"),
    )
    return measure(seg), measure_further_truth(drawn.anatomy, plane)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [101, 104])
def test_measuring_exact_surfaces_gives_the_truth(seed: int) -> None:
    found, truth = exact(seed)
    assert set(truth) == set(found.further) | {"artery_disc", "vein_disc"}
    compared = 0
    for name, m in found.further.items():
        true = truth[name]
        if m.value is None or true is None:
            continue
        within = 2.0 if name.endswith("_height") else WITHIN[m.unit]
        assert m.value == pytest.approx(true, abs=within), name
        compared += 1
    assert compared >= 10
    for name in ("artery_disc", "vein_disc"):
        assert found.extra[name].value_mm == pytest.approx(truth[name], abs=0.25), name


@pytest.mark.slow
def test_a_fork_in_the_middle_of_the_image_is_found_where_it_is() -> None:
    found, truth = exact(101)
    for name in ("aortic_bifurcation_height", "iliac_confluence_height"):
        assert found.further[name].value == pytest.approx(truth[name], abs=2.0)


@pytest.mark.slow
def test_measuring_exact_surfaces_of_varied_vessels_gives_the_four_values() -> None:
    """Two veins are cut, the left one flat across the midline: its thin tips need the full grid."""
    found, _ = exact(3007, "varied", slices=128, matrix=320)
    anatomy = draw_anatomy(3007, vessels="varied")
    true = measure_truth(anatomy, disc_plane(anatomy))
    assert true["DIVC"].components == 2
    for name, m in found.main.items():
        assert m.value_mm == pytest.approx(true[name].value_mm, abs=0.25), name
