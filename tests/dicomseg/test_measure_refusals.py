"""Why a value of OC, DAA, DIVC or PI is absent: what is cut, missing, mirrored or unlike anatomy."""

from dataclasses import replace

import numpy as np
import pytest

from dicomseg.measure import measure
from dicomseg.result import MAIN_MEASUREMENTS
from dicomseg.segmentation import Finding


def mirrored(seg, axis):
    """The arrays turned round, the affine kept: the error that must never pass unnoticed."""
    volume = seg.labels.volume
    return replace(
        seg,
        labels=replace(seg.labels, volume=volume.with_array(np.flip(volume.array, axis).copy())),
        sides=seg.sides.with_array(np.flip(seg.sides.array, axis).copy()),
        scores=replace(seg.scores, logits=np.flip(seg.scores.logits, axis + 1).copy()),
    )


SYMMETRIC = {
    "spacing_mm": (1.0, 1.0, 1.0),
    "low_mm": (-64.0, -48.0, -17.0),
    "high_mm": (64.0, 44.0, 17.0),
}


def test_a_mirrored_image_is_refused(shapes):
    seg = shapes.segmentation(shapes.spine(), shapes.pose(**SYMMETRIC))
    refusals = [m.refusal for m in measure(mirrored(seg, 2)).main.values()]
    assert {r.code for r in refusals} == {"orientation_unexpected"}
    assert "left-sided vena cava" in refusals[0].text


def test_a_mirrored_image_changes_oc_even_without_the_vein(shapes):
    tubes = {k: v for k, v in shapes.spine().items() if k != "ivc"}
    seg = shapes.segmentation(tubes, shapes.pose(**SYMMETRIC))
    true, false = measure(seg).main["OC"], measure(mirrored(seg, 2)).main["OC"]
    assert abs(false.value_mm - true.value_mm) > 1.0


def test_a_mirrored_vein_is_refused_even_without_the_artery(shapes):
    tubes = {k: v for k, v in shapes.spine().items() if k != "aa"}
    seg = shapes.segmentation(tubes, shapes.pose(**SYMMETRIC))
    assert measure(seg).main["PI"].value_mm is not None
    assert measure(mirrored(seg, 2)).main["PI"].refusal.code == "side_missing"


def test_an_upside_down_image_is_refused(shapes):
    found = measure(mirrored(shapes.segmentation(shapes.spine(), shapes.straight()), 0))
    assert {m.refusal.code for m in found.main.values()} == {"orientation_unexpected"}


@pytest.mark.parametrize(
    ("high", "refused", "measured"),
    [((38.0, 44.0, 17.0), "none", ("OC", "DAA")), ((22.5, 44.0, 17.0), "missing", ("DAA", "PI"))],
)
def test_a_cut_psoas_is_refused_only_where_it_matters(shapes, high, refused, measured):
    """The image ends at 38 mm: the corridor's line is seen. At 22.5 mm there is no left psoas at all."""
    found = measure(shapes.segmentation(shapes.spine(), shapes.straight(high_mm=high))).main
    for name in measured:
        assert found[name].value_mm is not None, found[name].refusal
    if refused != "none":
        assert found["OC"].refusal.code == refused


def test_a_cut_that_could_hide_a_shorter_line_is_refused(shapes):
    """The image ends just outside the psoas' inner edge: more of it may lie beyond."""
    pose = shapes.straight(high_mm=(29.5, 44.0, 17.0))
    found = measure(shapes.segmentation(shapes.spine(), pose)).main
    assert found["OC"].refusal.code == "cut_by_image"
    assert "upper bound" in found["OC"].refusal.text


def test_a_cut_vessel_has_no_diameter(shapes):
    pose = shapes.straight(low_mm=(-62.0, -28.0, -17.0))
    found = measure(shapes.segmentation(shapes.spine(), pose)).main
    assert found["DAA"].refusal.code == "cut_by_image"
    assert found["DIVC"].refusal.code == "cut_by_image"


@pytest.mark.parametrize(
    ("gone", "needs"), [("aa", {"OC", "DAA"}), ("ivc", {"DIVC", "PI"}), ("pm", {"OC", "PI"})]
)
def test_a_missing_structure_refuses_what_needs_it(shapes, gone, needs):
    tubes = {k: v for k, v in shapes.spine().items() if k != gone}
    found = measure(shapes.segmentation(tubes, shapes.straight())).main
    assert {n for n in MAIN_MEASUREMENTS if found[n].refusal is not None} == needs
    assert {found[n].refusal.code for n in needs} == {"missing"}


def test_a_structure_outside_the_image_is_refused_as_such(shapes):
    tubes = {k: v for k, v in shapes.spine().items() if k != "pm"}
    seg = shapes.segmentation(tubes, shapes.straight(), outside_view=frozenset({"pm"}))
    found = measure(seg).main
    assert {n for n in MAIN_MEASUREMENTS if found[n].refusal is not None} == {"OC", "PI"}
    assert found["OC"].refusal.code == "outside_image"
    assert found["OC"].refusal.text == "Psoas major: outside the image"


def test_a_refusing_finding_is_handed_on_with_its_sentence(shapes):
    finding = Finding("artery_broken", "the artery ends inside the image", "refusal", "aa")
    found = measure(
        shapes.segmentation(shapes.spine(), shapes.straight(), findings=(finding,))
    ).main
    assert found["DAA"].refusal.text == "the artery ends inside the image"
    assert found["OC"].refusal.code == "artery_broken"
    assert found["PI"].value_mm is not None


def test_a_general_refusal_refuses_everything(shapes):
    finding = Finding("implausible", "L4 and L5 overlap", "refusal")
    found = measure(shapes.segmentation(shapes.spine(), shapes.straight(), findings=(finding,)))
    assert {m.refusal.code for m in (*found.main.values(), *found.extra.values())} == {
        "implausible"
    }


def test_a_structure_that_misses_the_plane_is_refused(shapes):
    seg = shapes.segmentation(shapes.spine(), shapes.straight())
    volume = seg.labels.volume
    z = volume.to_patient(np.stack(np.indices(volume.shape), axis=-1))[..., 2]
    logits = seg.scores.logits.copy()
    logits[6][np.abs(z) < 6] = -20
    found = measure(shapes.answer(logits, volume.affine, shapes.straight())).main
    assert found["DAA"].refusal.code == "no_section"


def test_three_arteries_are_refused(shapes):
    tubes = shapes.spine()
    tubes["aa"] = (*tubes["aa"], shapes.tube((3.0, -45.0, 0.0), (4.0, 4.0)))
    found = measure(shapes.segmentation(tubes, shapes.straight(low_mm=(-62.0, -56.0, -17.0)))).main
    assert found["DAA"].refusal.code == found["OC"].refusal.code == "too_many_components"
    assert "3 sections" in found["OC"].refusal.text


@pytest.mark.parametrize(
    ("structure", "needs", "word"),
    [("aa", {"OC", "DAA"}, "left common"), ("ivc", {"PI", "DIVC"}, "right common iliac vein")],
)
def test_a_limb_on_the_far_side_is_not_measured_in_place_of_the_missing_one(
    shapes, structure, needs, word
):
    """A network lost the left artery of a phantom: OC read 38.0 instead of 12.0 mm, to the right one."""
    tubes = shapes.spine()
    if structure == "ivc":  # what is left is the left common iliac vein, between the arteries
        tubes["ivc"] = (shapes.tube((4.0, -26.0, 0.0), (3.0, 3.0)),)
        tubes["aa"] = (shapes.tube((16.0, -31.0, 0.0), (6.0, 5.5)),)
    else:
        tubes["aa"] = tubes["aa"][1:]
        tubes["ivc"] = (shapes.tube((-24.0, -22.0, 0.0), (7.0, 7.0)),)
    found = measure(shapes.segmentation(tubes, shapes.straight())).main
    assert {n for n in MAIN_MEASUREMENTS if found[n].refusal is not None} == needs
    for name in needs:
        assert found[name].refusal.code == "side_missing"
        assert word in found[name].refusal.text


def test_two_psoas_parts_on_one_side_are_refused(shapes):
    tubes = shapes.spine()
    tubes["pm"] = (*tubes["pm"], shapes.tube((40.0, 25.0, 0.0), (8.0, 8.0)))
    found = measure(shapes.segmentation(tubes, shapes.straight())).main
    assert found["OC"].refusal.code == "psoas_sides_unclear"
    assert found["PI"].value_mm is not None


def test_a_psoas_across_the_spine_is_refused(shapes):
    tubes = {**shapes.spine(), "pm": (shapes.tube((0.0, 38.0, 0.0), (40.0, 5.0)),)}
    found = measure(shapes.segmentation(tubes, shapes.straight())).main
    assert found["OC"].refusal.code == found["PI"].refusal.code == "psoas_sides_unclear"


def test_no_disc_means_no_value_and_no_plane(shapes):
    seg = shapes.segmentation(shapes.spine(), shapes.straight())
    logits = seg.scores.logits.copy()
    logits[2] = -30
    found = measure(shapes.answer(logits, seg.scores.affine, shapes.straight()))
    assert found.plane is None
    assert {m.refusal.code for m in found.main.values()} == {"plane_undetermined"}
