"""Angles between end plates whose planes are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dicomseg.measure.measure import measure
from dicomseg.result import FurtherValue
from dicomseg.segmentation import Segmentation
from tests.support.shapes import Shapes

ANGLE_DEG = 0.3


def segment(shapes: Shapes, upper_deg: float, lower_deg: float, **more: Any) -> Segmentation:
    """A segment whose outer end plates open to the front by both angles together; the disc's do by 8°."""
    box = {"low_mm": (-42.0, -40.0, -44.0), "high_mm": (42.0, 40.0, 44.0)}
    coarse = {"spacing_mm": (1.2, 1.2, 1.2)}
    pose = shapes.straight(**box) if more else shapes.posed(2, **box | coarse)
    tubes = {"dura": shapes.spine()["dura"]}
    return shapes.segmentation(
        tubes, replace(pose, **more), ends=shapes.ends(30.0, upper_deg, lower_deg)
    )


def angle(seg: Segmentation, name: str = "segmental_angle") -> FurtherValue:
    return measure(seg).further[name]


@pytest.mark.parametrize(("upper", "lower"), [(9.0, 7.0), (0.0, 0.0), (-6.0, -4.0), (14.0, -3.0)])
def test_the_segment_is_measured_from_the_upper_to_the_lower_end_plate(
    shapes: Shapes, upper: float, lower: float
) -> None:
    seg = segment(shapes, upper, lower)
    assert angle(seg).value == pytest.approx(upper + lower, abs=ANGLE_DEG)
    assert angle(seg, "disc_angle").value == pytest.approx(8.0, abs=ANGLE_DEG)


def test_an_angle_names_its_end_plates_and_what_its_uncertainty_contains(shapes: Shapes) -> None:
    found = angle(segment(shapes, 9.0, 7.0))
    assert (found.start, found.end) == ("L4 upper end plate", "L5 lower end plate")
    assert found.unit == "deg"
    assert found.uncertainty is not None
    assert 0 <= found.uncertainty < 0.5
    assert "planes through the end plates" in found.uncertainty_note
    assert found.softness is not None
    front, back, low_front, low_back = np.array(found.points_lps)
    assert front[1] < back[1] - 20
    assert low_front[1] < low_back[1] - 20
    assert front[2] - low_front[2] > back[2] - low_back[2] + 3, "it opens to the front"


@pytest.mark.parametrize("high_mm", [20.0, 30.0])
def test_an_end_plate_out_of_view_refuses_the_segment_and_not_the_disc(
    shapes: Shapes, high_mm: float
) -> None:
    seg = segment(shapes, 9.0, 7.0, high_mm=(42.0, 40.0, high_mm))
    refusal = angle(seg).refusal
    assert refusal is not None
    assert refusal.code == "cut_by_image"
    assert "upper end plate of L4" in refusal.text
    assert angle(seg, "disc_angle").value == pytest.approx(8.0, abs=ANGLE_DEG)


def test_a_noisy_end_plate_is_less_certain(shapes: Shapes) -> None:
    seg = segment(shapes, 9.0, 7.0)
    rng = np.random.default_rng(5)
    noise = rng.normal(0.0, 1.5, seg.scores.logits.shape).astype(np.float32)
    rough = replace(seg, scores=replace(seg.scores, logits=seg.scores.logits + noise))
    sure, unsure = angle(seg), angle(rough)
    assert unsure.value == pytest.approx(16.0, abs=1.0)
    assert (unsure.uncertainty or 0.0) > 2 * (sure.uncertainty or 0.0) + 0.02
