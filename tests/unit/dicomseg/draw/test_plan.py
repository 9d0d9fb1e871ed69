"""The corridor as a shape, and what is shown where nothing was measured."""

from __future__ import annotations

from dataclasses import replace

from dicomseg.draw.plan import build_plan
from dicomseg.result import Plane
from tests.support.pages import patient, with_refusals
from tests.support.shapes import spine


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
    assert plan.disc is not None
    assert plan.corridor is None
    assert not plan.forks_mm


def test_forks_in_view_are_those_of_the_result() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    refusal = measured.further["aortic_bifurcation_height"].refusal
    assert refusal is not None
    assert not build_plan(seg, measured, measured.plane).forks_mm
    seen = replace(measured.further["aortic_bifurcation_height"], value=12.5, refusal=None)
    found = replace(measured, further=measured.further | {seen.name: seen})
    assert build_plan(seg, found, measured.plane).forks_mm == {"aa": 12.5}
