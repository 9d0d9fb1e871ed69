"""Limbs by their shape: closed forms of joined discs, tongues and pieces."""

from __future__ import annotations

import pytest
from shapely.geometry import LineString, Point, Polygon
from shapely.ops import unary_union

from dicomseg.measure.branches import surplus_branches, widest_branch_mm
from dicomseg.measure.measure import measure


def disc(a: float, radius: float) -> Polygon:
    return Point(a, 0.0).buffer(radius, quad_segs=64)


def joined(*shapes: Polygon, bridge_mm: float) -> Polygon:
    a = [s.centroid.x for s in shapes]
    bridge = LineString([(min(a), 0.0), (max(a), 0.0)]).buffer(bridge_mm / 2)
    return unary_union([*shapes, bridge])


@pytest.mark.parametrize("bridge_mm", [1.0, 3.0])
def test_of_two_joined_branches_the_wider_one(bridge_mm: float) -> None:
    both = joined(disc(0.0, 7.0), disc(18.0, 5.0), bridge_mm=bridge_mm)
    assert widest_branch_mm(both) == pytest.approx(14.0, abs=0.8)


def test_a_tube_with_a_thin_tongue_is_the_tube() -> None:
    tongue = LineString([(0.0, 0.0), (14.0, 0.0)]).buffer(1.8, cap_style="flat")
    assert widest_branch_mm(unary_union([disc(0.0, 5.5), tongue])) == pytest.approx(11.0, abs=1.0)


def test_a_disc_and_a_flat_vein_stay_what_they_are() -> None:
    assert widest_branch_mm(disc(0.0, 6.0)) == pytest.approx(12.0, abs=0.05)
    flat = LineString([(-9.0, 0.0), (9.0, 0.0)]).buffer(3.0)
    assert widest_branch_mm(flat) == pytest.approx(24.0, abs=0.1)


def test_the_thinnest_of_three_is_no_branch() -> None:
    flat = LineString([(0.0, 0.0), (20.0, 0.0)]).buffer(2.0)  # the largest by area
    assert surplus_branches([flat, disc(0.0, 4.5), disc(30.0, 4.0)]) == [0]
    assert surplus_branches([disc(0.0, 4.5), disc(30.0, 4.0)]) == []


def test_veins_that_have_just_joined_are_measured_across_both_with_the_wider_branch_in_the_range(
    shapes,
):  # type: ignore[no-untyped-def]
    """Two round branches with a narrow bridge: the value is across both, the range begins at the wider branch."""
    tubes = {
        **shapes.spine(),
        "aa": (shapes.tube((24.0, -30.0, 0.0), (5.5, 5.5)), shapes.tube((10.0, -40.0, 0.0), (5.0, 5.0))),
        "ivc": (shapes.tube((-24.0, -20.0, 0.0), (7.0, 7.0)), shapes.tube((-6.0, -22.0, 0.0), (6.0, 6.0)),
                shapes.tube((-15.0, -21.0, 0.0), (7.0, 2.0))),
    }  # fmt: skip
    divc = measure(shapes.segmentation(tubes, shapes.straight())).main["DIVC"]
    assert divc.value_mm == pytest.approx(13.0 + 18.11, abs=0.2)
    assert "at_bifurcation" in divc.flags
    assert divc.uncertainty_mm is None
    assert divc.range_mm is not None
    assert divc.range_mm[0] == pytest.approx(14.0, abs=0.8)
    assert divc.range_mm[1] >= divc.value_mm
    assert "its widest part alone is 14" in divc.note


def test_an_artery_with_a_tongue_of_vein_is_flagged_with_its_tube_in_the_range(shapes):  # type: ignore[no-untyped-def]
    tubes = shapes.spine()
    tubes["ivc"] = (shapes.tube((-24.0, -20.0, 0.0), (7.0, 7.0)),)
    tubes["aa"] = (shapes.tube((16.0, -28.0, 0.0), (5.5, 5.5)), shapes.tube((7.0, -27.0, 0.0), (7.0, 1.8)), shapes.tube((-12.0, -34.0, 0.0), (4.0, 4.0)))  # fmt: skip
    daa = measure(shapes.segmentation(tubes, shapes.straight())).main["DAA"]
    assert daa.value_mm == pytest.approx(21.5, abs=0.4)
    assert "section_merged" in daa.flags
    assert daa.range_mm is not None
    assert daa.range_mm[0] == pytest.approx(11.0, abs=1.3)


def test_a_value_that_moves_with_what_the_network_is_not_sure_of_is_flagged(shapes):  # type: ignore[no-untyped-def]
    """Margins that fall by one logit in 0.4 mm or in 1.5 mm: two logits move the outline by 0.8 or 3 mm."""
    sharp, soft = (
        measure(shapes.segmentation(shapes.spine(), shapes.straight(), tau_mm=tau)).main["DAA"]
        for tau in (0.4, 1.5)
    )
    assert "outline_unsure" not in sharp.flags
    assert "outline_unsure" in soft.flags
    assert soft.softness_mm == pytest.approx(7.0, abs=1.0)
    assert "mm when they are moved" in soft.note
