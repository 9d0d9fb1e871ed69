from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.phantom.column import build_column
from training.phantom.person import draw_disease, draw_person, draw_targets, draw_transition
from training.phantom.scene import build_anatomy
from training.phantom.spine import disc_strokes
from training.phantom.surroundings import build_psoas


@pytest.fixture(scope="module")
def ours():  # type: ignore[no-untyped-def]
    return build_anatomy(11)


def test_way_to_the_patient_and_back(ours) -> None:  # type: ignore[no-untyped-def]
    points = np.random.default_rng(0).uniform(-60, 60, (200, 3))
    assert np.allclose(
        ours.patient_pose.to_anatomy(ours.patient_pose.to_lps(points)), points, atol=1e-6
    )


def test_the_bend_never_folds_and_keeps_handedness(ours) -> None:  # type: ignore[no-untyped-def]
    centre, step = np.random.default_rng(1).uniform(-60, 60, (300, 3)), 0.5
    jacobian = np.stack(
        [
            (
                ours.patient_pose.to_anatomy(centre + step * e)
                - ours.patient_pose.to_anatomy(centre - step * e)
            )
            / (2 * step)
            for e in np.eye(3)
        ],
        axis=-1,
    )
    assert np.linalg.det(jacobian).min() > 0.5


def test_column_stands_in_order_and_disc_distances_are_human(ours) -> None:  # type: ignore[no-untyped-def]
    heights = [ours.column.bodies[n].frame.centre[2] for n in ("s1", "l5", "l4", "l3")]
    assert heights == sorted(heights)
    discs = ours.column.discs
    gap = np.linalg.norm(discs["l34"].frame.centre - discs["l45"].frame.centre)
    assert 28 < gap < 44  # 36.6 ± 2.1 mm in SPIDER


def test_same_seed_same_person_other_seed_other_person() -> None:
    assert draw_person(5) == draw_person(5)
    assert draw_person(5) != draw_person(6)


def test_targets_follow_the_papers_table_3() -> None:
    drawn = [draw_targets(s) for s in range(1500)]
    assert np.mean([t.oc_mm for t in drawn]) == pytest.approx(9.0, abs=0.5)
    assert np.mean([t.pi_mm for t in drawn]) == pytest.approx(1.85, abs=0.15)
    assert np.mean([t.divc_mm for t in drawn]) == pytest.approx(21.1, abs=0.8)
    assert np.std([t.divc_mm for t in drawn]) == pytest.approx(7.2, abs=0.8)


def test_a_vein_that_is_narrow_at_the_disc_is_not_narrow_everywhere() -> None:
    narrow = build_anatomy(5004, still=True)  # DIVC 12.7 mm
    veins = narrow.trees[1]
    assert veins.scale < 0.8
    rows = veins.knots(narrow.column, 0, -60.0, 60.0)
    high = rows[rows[:, 0] > 45]
    assert (high[:, 3] > 10.0).all()  # half the width of a vena cava, 19 to 29 mm
    assert np.allclose(high[:, 3] / high[:, 4], rows[0, 3] / rows[0, 4])


def test_psoas_lies_where_label_maps_of_real_people_have_it() -> None:
    axes = np.meshgrid(np.arange(10, 90, 1.0), np.arange(-50, 50, 1.0), indexing="ij")
    forward = []
    for seed in range(30):
        person = draw_person(seed)
        column = build_column(seed, person, draw_disease(seed, person))
        left, _ = build_psoas(seed, person, column, (-60.0, 60.0))
        inside = left.field(*axes, np.zeros_like(axes[0])) < 0
        forward.append(-axes[1][inside].mean())
    # Centres in four CT label maps: 1 to 8 mm in front of the disc's centre.
    assert 0.0 < np.mean(forward) < 5.0
    assert 3.0 < np.std(forward) < 7.0


def test_one_in_nine_has_a_transitional_vertebra_and_the_others_stay_as_they_were() -> None:
    drawn = [draw_transition(seed) for seed in range(3000)]
    assert drawn.count("none") / 3000 == pytest.approx(0.884, abs=0.02)
    assert drawn.count("sacralised") > 3 * drawn.count("lumbarised") > 0
    person, disease = draw_person(21), draw_disease(21, draw_person(21))
    assert person.transition == "none"
    usual = build_column(21, person, disease)
    for transition in ("sacralised", "lumbarised"):
        other = build_column(21, replace(person, transition=transition), disease)
        for name in ("l45", "l34"):
            now, before = other.discs[name], usual.discs[name]
            assert np.array_equal(now.frame.centre, before.frame.centre)
            assert np.array_equal(now.frame.axes, before.frame.axes)
            assert (now.gap_mm, now.half_width_mm) == (before.gap_mm, before.half_width_mm)
        assert other.bodies["l5"].half_width_mm == usual.bodies["l5"].half_width_mm


def test_a_vertebra_joined_to_the_sacrum_has_a_low_and_narrow_disc_below_it() -> None:
    person, disease = draw_person(21), draw_disease(21, draw_person(21))
    usual = build_column(21, person, disease).discs["l5s1"]
    joined = build_column(21, replace(person, transition="sacralised"), disease).discs["l5s1"]
    assert joined.gap_mm < 0.6 * usual.gap_mm
    assert joined.half_depth_mm == pytest.approx(0.72 * usual.half_depth_mm, rel=0.01)


def test_a_free_sacral_vertebra_is_squared_and_has_a_disc_below_it() -> None:
    person, disease = draw_person(21), draw_disease(21, draw_person(21))
    usual = build_column(21, person, disease)
    free = build_column(21, replace(person, transition="lumbarised"), disease)
    assert free.discs["s1s2"].gap_mm > 3 * usual.discs["s1s2"].gap_mm
    assert free.bodies["s1"].half_depth_mm / free.bodies["s2"].half_depth_mm < 1.37
    assert usual.bodies["s1"].half_depth_mm / usual.bodies["s2"].half_depth_mm > 1.37
    drawn = [len(disc_strokes(21, column, disease)) for column in (usual, free)]
    assert drawn[1] > drawn[0]
