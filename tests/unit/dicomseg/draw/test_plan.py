"""What follows from the outlines, on shapes of closed form."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Polygon

from dicomseg.draw.plan import build_plan
from dicomseg.result import Plane
from dicomseg.segmentation import Segmentation
from tests.support.pages import patient, with_refusals
from tests.support.shapes import Tube, spine


def true_section(tube: Tube) -> Polygon:
    return tube.polygon()


DISC = Tube((0.0, 0.0, 0.0), (25.0, 18.0))


def test_positions_areas_and_angles_are_those_of_the_shapes() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    plan = build_plan(seg, measured, measured.plane)
    tubes = {name: [true_section(t) for t in parts] for name, parts in spine().items()}
    for side, psoas in zip(("left", "right"), tubes["pm"], strict=True):
        position = plan.psoas[side]  # type: ignore[index]
        assert position.area_mm2 == pytest.approx(psoas.area, rel=0.03)
        assert position.front_mm == pytest.approx(-18.0 - psoas.bounds[1], abs=0.5)
        assert not position.is_cut
    assert plan.sac_mm2 == pytest.approx(tubes["dura"][0].area, rel=0.03)
    assert plan.wedge_deg == pytest.approx(8.0, abs=1.0)
    gap = min(p.distance(true_section(DISC)) for p in tubes["aa"])
    assert plan.gaps_mm["aa"] == pytest.approx(gap, abs=0.3)
    assert plan.vein_left_mm == pytest.approx(tubes["ivc"][0].bounds[2], abs=0.5)


def test_the_cover_is_the_share_of_the_disc_with_a_vessel_in_front() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    plan = build_plan(seg, measured, measured.plane)
    vessels = [t.polygon().bounds for name in ("aa", "ivc") for t in spine()[name]]
    a = np.linspace(-25, 25, 5001)
    covered = np.any([(a >= v[0]) & (a <= v[2]) for v in vessels], axis=0)
    assert plan.cover == pytest.approx(covered.mean(), abs=0.02)


def test_the_corridor_lies_left_of_the_disc_between_psoas_and_artery() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    corridor = build_plan(seg, measured, measured.plane).corridor
    assert corridor is not None
    a0, b0, _, b1 = corridor.shape.bounds
    assert a0 > 5.0
    assert b0 < corridor.middle_ab[1] < b1
    artery, psoas = spine()["aa"][0].polygon(), spine()["pm"][0].polygon()
    assert corridor.shape.intersection(artery.buffer(-0.3)).area < 0.1
    assert corridor.shape.intersection(psoas.buffer(-0.3)).area < 0.1
    assert 0 < corridor.direction_deg < 90


def test_a_refused_value_has_no_corridor_and_a_refused_plane_only_outlines() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    without = with_refusals(measured, ["OC"], "missing")
    assert build_plan(seg, without, measured.plane).corridor is None
    all_refused = with_refusals(measured, list(measured.main), "plane_undetermined")
    nothing = type(measured)(None, all_refused.main)
    plan = build_plan(seg, nothing, Plane((0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0)))
    assert plan.sections["aa"]
    assert (plan.cover, plan.sac_mm2, plan.wedge_deg) == (None, None, None)
    assert not plan.psoas
    assert not plan.forks


def test_a_psoas_at_the_end_of_the_image_is_cut() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    narrow = Segmentation(
        seg.level,
        type(seg.labels)(
            seg.labels.volume, seg.labels.analysed_mask & (np.indices(seg.sides.shape)[2] < 88)
        ),
        seg.sides,
        seg.scores,
        seg.engine,
    )
    plan = build_plan(narrow, measured, measured.plane)
    assert plan.psoas["left"].is_cut
    assert not plan.psoas["right"].is_cut
