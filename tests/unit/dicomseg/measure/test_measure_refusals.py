"""Why a value of OC, DAA, DIVC or PI is absent: what is cut, missing, mirrored or unlike anatomy."""

from dataclasses import replace

import numpy as np
import pytest

from dicomseg.measure.measure import measure
from dicomseg.measurement_names import MAIN_MEASUREMENTS
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
    assert "left-sided IVC" in refusals[0].text


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


def test_the_thinnest_of_three_arteries_is_left_out_and_said_so(shapes):
    tubes = shapes.spine()
    straight = shapes.straight(low_mm=(-62.0, -56.0, -17.0))
    two = measure(shapes.segmentation(tubes, straight)).main
    tubes["aa"] = (*tubes["aa"], shapes.tube((3.0, -45.0, 0.0), (4.0, 4.0)))
    found = measure(shapes.segmentation(tubes, straight))
    for name in ("OC", "DAA"):
        assert found.main[name].value_mm == pytest.approx(two[name].value_mm, abs=0.01)
    (finding,) = [f for f in found.findings if f.code == "section_left_out"]
    assert "a cross-section of 50 mm²" in finding.text
    assert "thinner than two other cross-sections" in finding.text


def test_a_flat_third_artery_inside_a_vein_is_given_back_to_it(shapes):
    """As in real volumes: a piece of the left common iliac vein, flat on the disc, is called artery."""
    tubes = {
        **shapes.spine(),
        "aa": (shapes.tube((24.0, -24.0, 0.0), (6.0, 6.0)), shapes.tube((-10.0, -36.0, 0.0), (5.5, 5.5))),
        "ivc": (shapes.tube((-24.0, -20.0, 0.0), (6.0, 6.0)), shapes.tube((4.0, -24.0, 0.0), (12.0, 4.5))),
    }  # fmt: skip
    seg = shapes.segmentation(tubes, shapes.straight())
    whole = measure(seg).main
    assert whole["DIVC"].value_mm == pytest.approx(24.0, abs=0.1)
    volume, logits = seg.labels.volume, seg.scores.logits.copy()
    points = volume.to_patient(np.stack(np.indices(volume.shape), axis=-1))
    piece = shapes.tube((8.0, -24.0, 0.0), (6.0, 3.0)).inside(points) > 0
    logits[6] = np.where(piece, logits[8] + 0.7, logits[6])
    found = measure(shapes.answer(logits, volume.affine, shapes.straight()))
    for name in MAIN_MEASUREMENTS:
        assert found.main[name].value_mm == pytest.approx(whole[name].value_mm, abs=0.1), name
        assert "section_reassigned" in found.main[name].flags
    assert found.main["DIVC"].start == "left common iliac vein"
    (finding,) = [f for f in found.findings if f.code == "section_reassigned"]
    assert "reassigned to Inferior vena cava" in finding.text


def test_a_narrower_branch_that_is_cut_does_not_cost_the_wider_one(shapes):
    tubes = {
        **shapes.spine(),
        "ivc": (shapes.tube((-24.0, -20.0, 0.0), (6.0, 6.0)), shapes.tube((0.0, -24.0, 0.0), (9.0, 4.0))),
    }  # fmt: skip
    pose = shapes.straight(low_mm=(-25.0, -48.0, -17.0))
    found = measure(shapes.segmentation(tubes, pose)).main["DIVC"]
    assert found.value_mm == pytest.approx(18.0, abs=0.1)
    assert "right common iliac vein: " in found.note
    assert "(truncated at the image border)" in found.note
    assert "limb_cut" in found.flags


def test_a_psoas_whose_middle_lies_outside_is_measured_all_the_same(shapes):
    """The image ends at 38 mm, the muscle's expected middle lies at 42: the corridor is in it."""
    pose = shapes.straight(high_mm=(38.0, 44.0, 17.0))
    seg = shapes.segmentation(shapes.spine(), pose, outside_view=frozenset({"pm"}))
    whole = measure(shapes.segmentation(shapes.spine(), shapes.straight())).main
    found = measure(seg).main
    for name in ("OC", "PI"):
        assert found[name].value_mm == pytest.approx(whole[name].value_mm, abs=0.05)


@pytest.mark.parametrize(
    ("structure", "needs", "word"),
    [("aa", {"OC", "DAA"}, "left common"), ("ivc", {"PI", "DIVC"}, "right common iliac vein")],
)
def test_a_branch_on_the_far_side_is_not_measured_in_place_of_the_missing_one(
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


@pytest.mark.parametrize(("back_mm", "known"), [(25.0, True), (-24.0, False)])
def test_a_second_psoas_part_refuses_only_what_it_would_shorten(shapes, back_mm, known):
    """Behind the first one it changes nothing; beside the artery the corridor may end on it."""
    tubes = shapes.spine()
    one = measure(shapes.segmentation(tubes, shapes.straight())).main
    tubes["pm"] = (tubes["pm"][1], shapes.tube((39.5, -2.0, 0.0), (13.0, 12.0)), shapes.tube((33.0, back_mm, 0.0), (8.0, 7.5)))  # fmt: skip
    found = measure(shapes.segmentation(tubes, shapes.straight())).main
    assert found["PI"].value_mm == pytest.approx(one["PI"].value_mm, abs=0.01)
    if known:
        assert found["OC"].value_mm is not None
    else:
        assert found["OC"].refusal.code == "psoas_sides_unclear"
        assert "several cross-sections of the left psoas major" in found["OC"].refusal.text


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
