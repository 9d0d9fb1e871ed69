"""Areas, positions and shares of shapes of known size, in any pose; what refuses them, and what does not."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shapely.geometry import Polygon

from dicomseg.measure.further import FURTHER
from dicomseg.measure.measure import measure
from dicomseg.result import FurtherValue, Measurements, Refusal
from dicomseg.segmentation import Finding, Segmentation
from dicomseg.structures import Side
from dicomseg.volume import Volume
from tests.support.shapes import Shapes, Tube

OUTLINE_MM = 0.05
"""Largest mean displacement of an outline, as an area shows it."""
EDGE_MM = 0.1
DISC = Tube((0.0, 0.0, 0.0), (25.0, 18.0))
SIDES: tuple[Side, Side] = ("left", "right")


def value_of(found: Measurements, name: str) -> float:
    value = found.further[name].value
    assert value is not None, found.further[name].refusal
    return value


def refusal_of(found: Measurements, name: str) -> str:
    refusal = found.further[name].refusal
    assert refusal is not None, name
    return refusal.code


def covered(tubes: dict[str, tuple[Tube, ...]]) -> float:
    """Share of the disc's width in front of which a vessel lies, by counting points of it."""
    bounds = [t.polygon().bounds for name in ("aa", "ivc") for t in tubes[name]]
    a = np.linspace(-25, 25, 50_001)
    return float(np.any([(a >= b[0]) & (a <= b[2]) for b in bounds], axis=0).mean())


@pytest.mark.parametrize("seed", range(4))
def test_values_are_true_in_any_pose(shapes: Shapes, seed: int) -> None:
    tubes = shapes.spine()
    found = measure(shapes.segmentation(tubes, shapes.posed(seed)))
    for side, tube in zip(SIDES, tubes["pm"], strict=True):
        outline: Polygon = tube.polygon()
        _, front, _, back = outline.bounds
        area = value_of(found, f"psoas_area_{side}")
        assert area == pytest.approx(outline.area, abs=OUTLINE_MM * outline.length)
        assert value_of(found, f"psoas_front_{side}") == pytest.approx(-18.0 - front, abs=EDGE_MM)
        share = (back + 18.0) / 36.0
        assert value_of(found, f"psoas_zone_{side}") == pytest.approx(share, abs=EDGE_MM / 36)
    assert value_of(found, "vessel_cover") == pytest.approx(covered(tubes), abs=2 * EDGE_MM / 50)
    vein = tubes["ivc"][0].polygon()
    assert value_of(found, "vein_left_edge") == pytest.approx(vein.bounds[2], abs=EDGE_MM)
    for name, parts in (("artery_disc", tubes["aa"]), ("vein_disc", tubes["ivc"])):
        true = min(t.polygon().distance(DISC.polygon()) for t in parts)
        assert found.extra[name].value_mm == pytest.approx(true, abs=EDGE_MM), name


@pytest.mark.parametrize("tilt_deg", [0.0, 5.0, 25.0])
def test_the_area_of_the_sac_is_that_across_its_course(shapes: Shapes, tilt_deg: float) -> None:
    tubes = shapes.spine()
    tubes["dura"] = (Tube((1.0, 27.0, 0.0), (8.0, 6.0), tilt_deg),)
    found = measure(shapes.segmentation(tubes, shapes.posed(1)))
    true = math.pi * 8.0 * 6.0
    sac = found.further["dural_sac_area"]
    assert sac.value == pytest.approx(true, abs=OUTLINE_MM * 44.0)
    in_plane = true / math.cos(math.radians(tilt_deg))
    area, _, where = sac.note.partition(" mm² in the mid-disc plane, which lies ")
    assert float(area) == pytest.approx(in_plane, rel=0.01)
    assert float(where.partition("°")[0]) == pytest.approx(tilt_deg, abs=1.0)
    stored = Polygon(np.array(sac.points_lps) @ np.array(axes_of(found)).T)
    assert stored.area == pytest.approx(in_plane, abs=OUTLINE_MM * 44.0)


def axes_of(found: Measurements) -> tuple[Any, Any]:
    assert found.plane is not None
    return found.plane.e_left, found.plane.e_back


def test_a_value_has_unit_side_method_uncertainty_and_names(shapes: Shapes) -> None:
    found = measure(shapes.segmentation(shapes.spine(), shapes.posed(2)))
    for q in FURTHER:
        m = found.further[q.what.name]
        assert (m.unit, m.side, m.method) == (q.what.unit, q.what.side, q.what.method)
        assert m.uncertainty is not None
        assert 0 < m.uncertainty < {"mm": 0.5, "mm2": 10.0, "ratio": 0.05}[m.unit], m.name
        assert "contour" in m.uncertainty_note
        assert "plane moved ±1 mm" in m.uncertainty_note
        assert "model uncertainty unknown" in m.uncertainty_note
        assert m.softness is not None
        assert m.softness > 0
        assert m.start
        assert m.points_lps
    front = found.further["psoas_front_right"]
    assert (front.start, front.end) == ("right psoas major", "L4/5 disc")
    assert math.dist(*front.points_lps) == pytest.approx(abs(front.value or 0.0))


def test_softer_outlines_move_an_area_further(shapes: Shapes) -> None:
    firm = shapes.segmentation(shapes.spine(), shapes.straight())
    soft = replace(firm, scores=replace(firm.scores, logits=firm.scores.logits / 4))
    sure, unsure = (measure(seg).further["psoas_area_left"] for seg in (firm, soft))
    assert sure.softness is not None
    assert unsure.softness == pytest.approx(4 * sure.softness, rel=0.2)
    faint = replace(firm, scores=replace(firm.scores, logits=firm.scores.logits / 20))
    lost = measure(faint).further["psoas_area_left"]
    assert lost.uncertainty is None
    assert lost.range is not None
    assert lost.range[0] < (lost.value or 0.0) < lost.range[1]
    assert "the value is lost" in lost.uncertainty_note


def test_the_zone_is_a_class_and_says_when_it_is_borderline(shapes: Shapes) -> None:
    tubes = shapes.spine()
    found = measure(shapes.segmentation(tubes, shapes.straight())).further
    assert (found["psoas_zone_left"].category, found["psoas_zone_right"].category) == ("IV", "IV")
    assert found["psoas_area_left"].category is None
    left = tubes["pm"][0]
    back = left.polygon().bounds[3]
    moved = replace(left, centre=(left.centre[0], left.centre[1] + 18.0 - back, 0.0))
    tubes["pm"] = (moved, tubes["pm"][1])
    at_the_back = measure(shapes.segmentation(tubes, shapes.straight())).further["psoas_zone_left"]
    assert "zone_borderline" in at_the_back.flags
    assert "zone P when" in at_the_back.note or "zone IV when" in at_the_back.note


def narrowed(seg: Segmentation, low_mm: float, high_mm: float) -> Segmentation:
    """The same, as if the image ended at these patient x."""
    volume = seg.labels.volume
    x = volume.to_patient(np.stack(np.indices(volume.shape), axis=-1))[..., 0]
    mask = seg.labels.analysed_mask & (x > low_mm) & (x < high_mm)
    return replace(seg, labels=replace(seg.labels, analysed_mask=mask))


def test_a_psoas_cut_at_its_outer_side_has_no_area_but_a_place(shapes: Shapes) -> None:
    seg = shapes.segmentation(shapes.spine(), shapes.straight())
    complete, cut = measure(seg), measure(narrowed(seg, -100.0, 47.0))
    assert refusal_of(cut, "psoas_area_left") == "cut_by_image"
    assert cut.further["psoas_area_left"].value is None
    for name in ("psoas_front_left", "psoas_zone_left", "psoas_area_right", "dural_sac_area"):
        assert value_of(cut, name) == pytest.approx(value_of(complete, name), abs=1e-6), name


def test_a_psoas_whose_front_is_cut_off_has_no_place(shapes: Shapes) -> None:
    seg = shapes.segmentation(shapes.spine(), shapes.straight())
    cut = measure(narrowed(seg, -100.0, 33.0))
    assert refusal_of(cut, "psoas_front_left") == "cut_by_image"
    assert value_of(cut, "psoas_front_right") > 0


def test_a_vessel_cut_beside_the_disc_leaves_the_cover(shapes: Shapes) -> None:
    tubes = shapes.spine()
    tubes["ivc"] = (shapes.tube((-27.0, -24.0, 0.0), (8.0, 7.0)),)
    seg = shapes.segmentation(tubes, shapes.straight())
    assert value_of(measure(narrowed(seg, -30.0, 100.0)), "vessel_cover") == pytest.approx(
        covered(tubes), abs=0.01
    )
    tubes = shapes.spine()
    seg = shapes.segmentation(tubes, shapes.straight())
    assert refusal_of(measure(narrowed(seg, -15.0, 100.0)), "vessel_cover") == "cut_by_image"


@pytest.mark.parametrize(
    ("absent", "refused", "kept"),
    [
        ("dura", ("dural_sac_area",), ("vessel_cover", "psoas_area_left", "disc_angle")),
        ("ivc", ("vessel_cover", "vein_left_edge"), ("psoas_front_left", "dural_sac_area")),
        ("pm", ("psoas_area_left", "psoas_front_right"), ("vessel_cover", "disc_angle")),
    ],
)
def test_a_missing_structure_refuses_what_needs_it(
    shapes: Shapes, absent: str, refused: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    tubes = {k: v for k, v in shapes.spine().items() if k != absent}
    found = measure(shapes.segmentation(tubes, shapes.straight()))
    assert {refusal_of(found, name) for name in refused} == {"missing"}
    assert all(found.further[name].refusal is None for name in kept)


def test_a_general_refusal_refuses_every_further_value(shapes: Shapes) -> None:
    finding = Finding("implausible", "L4 and L5 overlap", "refusal")
    seg = shapes.segmentation(shapes.spine(), shapes.straight())
    names = set(measure(seg).further) | set(measure(seg).extra)
    found = measure(replace(seg, findings=(finding,)))
    assert set(found.further) | set(found.extra) == names
    refusals = [m.refusal for m in (*found.further.values(), *found.extra.values())]
    assert {r.code for r in refusals if r is not None} == {"implausible"}
    assert None not in refusals


def test_a_further_value_has_either_a_value_or_a_refusal() -> None:
    with pytest.raises(ValueError, match="either"):
        FurtherValue("x", "", "mm")
    with pytest.raises(ValueError, match="either"):
        FurtherValue("x", "", "mm", value=1.0, refusal=Refusal("missing", ""))


def turned(seg: Segmentation, order: tuple[int, ...], flips: tuple[int, ...]) -> Segmentation:
    """The same in patient space, its arrays' axes permuted and flipped."""

    def array_of(array: Any, first: int) -> Any:
        axes = (*range(first), *(first + n for n in order))
        return np.ascontiguousarray(np.flip(array.transpose(axes), [first + n for n in flips]))

    def affine_of(affine: Any, shape: tuple[int, ...]) -> Any:
        out = affine.copy()
        out[:3, :3] = affine[:3, list(order)]
        for axis in flips:
            out[:3, 3] += out[:3, axis] * (shape[order[axis]] - 1)
            out[:3, axis] *= -1
        return out

    def volume_of(volume: Volume) -> Volume:
        return Volume(array_of(volume.array, 0), affine_of(volume.affine, volume.shape), "1.2.3")

    scores = seg.scores
    logits = array_of(scores.logits, 1)
    return replace(
        seg,
        labels=replace(
            seg.labels,
            volume=volume_of(seg.labels.volume),
            analysed_mask=array_of(seg.labels.analysed_mask, 0),
        ),
        sides=volume_of(seg.sides),
        scores=replace(
            scores, logits=logits, affine=affine_of(scores.affine, scores.logits.shape[1:])
        ),
    )


TURNS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in ((), (0,), (1, 2), (0, 1, 2))
]


@pytest.mark.slow
def test_every_value_is_the_same_under_24_turns_of_the_arrays(shapes: Shapes) -> None:
    pose = shapes.posed(3, spacing_mm=(1.4, 1.4, 1.4), low_mm=(-62.0, -48.0, -40.0))
    pose = replace(pose, high_mm=(62.0, 44.0, 40.0))
    ends = shapes.ends(30.0, 6.0, 5.0)
    seg = shapes.segmentation(shapes.spine(), pose, tau_mm=0.7, ends=ends)
    first = measure(seg)
    assert all(m.refusal is None for m in (*first.main.values(), *first.extra.values()))
    for order, flips in TURNS:
        found = measure(turned(seg, order, flips))
        for name, m in (first.main | first.extra).items():
            other = (found.main | found.extra)[name]  # type: ignore[index]
            assert other.value_mm == pytest.approx(m.value_mm, abs=1e-6), (name, order, flips)
            assert np.allclose(other.points_lps, m.points_lps, atol=1e-4), (name, order, flips)
        for name, further in first.further.items():
            again = found.further[name]
            assert (again.category, again.refusal) == (further.category, further.refusal), name
            if further.value is not None:
                within = 1e-6 if further.unit != "mm2" else 1e-4
                assert again.value == pytest.approx(further.value, abs=within), (name, order, flips)
