from __future__ import annotations

import numpy as np
import pytest

from training.phantom import truth
from training.phantom.scene import Anatomy, build_anatomy


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(41)


@pytest.mark.slow
def test_two_rasters_agree_to_a_hundredth_of_a_millimetre(anatomy: Anatomy) -> None:
    plane = truth.disc_plane(anatomy)
    fine = truth.measure_truth(anatomy, plane, 0.1)
    coarse = truth.measure_truth(anatomy, plane, 0.2)
    for name in ("OC", "DAA", "DIVC", "PI"):
        assert fine[name].value_mm == pytest.approx(coarse[name].value_mm, abs=0.01), name


def test_value_is_the_distance_of_the_end_points(anatomy: Anatomy) -> None:
    plane = truth.disc_plane(anatomy)
    for value in truth.measure_truth(anatomy, plane, 0.2).values():
        assert value.value_mm is not None
        a, b = np.array(value.points_lps)
        if value.value_mm > 0:
            assert np.linalg.norm(a - b) == pytest.approx(value.value_mm, abs=1e-9)
        for p in (a, b):
            assert (p - plane.point_lps) @ plane.normal == pytest.approx(0, abs=1e-9)


def test_end_points_lie_on_the_right_side(anatomy: Anatomy) -> None:
    plane = truth.disc_plane(anatomy)
    values = truth.measure_truth(anatomy, plane, 0.2)
    assert values["OC"].points_lps[0][0] > plane.point_lps[0]  # left psoas: larger x
    assert values["PI"].points_lps[0][0] < plane.point_lps[0]


@pytest.mark.slow
def test_the_solver_meets_its_targets_where_nothing_is_bent() -> None:
    met = 0
    for seed in range(50, 56):
        still = build_anatomy(seed, still=True)
        value = truth.measure_truth(still, truth.disc_plane(still), 0.3)["OC"].value_mm
        met += abs((value if value is not None else -9) - still.targets.oc_mm) < 1.0
    assert met >= 4


def test_plane_lies_between_the_bodies_and_points_to_the_head(anatomy: Anatomy) -> None:
    plane = truth.disc_plane(anatomy)
    l4, l5 = (
        anatomy.patient_pose.to_lps(anatomy.column.bodies[n].frame.centre) for n in ("l4", "l5")
    )
    n = np.array(plane.normal)
    assert (l4 - plane.point_lps) @ n > 10
    assert (l5 - plane.point_lps) @ n < -10
    assert np.linalg.norm(n) == pytest.approx(1)
    left, back = plane.axes
    assert left[0] > 0.9
    assert back[1] > 0.8


@pytest.mark.slow
def test_a_mirrored_person_has_the_corridor_on_the_other_side(anatomy: Anatomy) -> None:
    mirrored = build_anatomy(41, mirror=True)
    plane = truth.disc_plane(mirrored)
    cut = truth.cut_sections(mirrored, plane, 0.3)
    vein = cut.outlines["ivc"][0][:, 0].mean()
    artery = np.mean([c[:, 0].mean() for c in cut.outlines["aa"]])
    assert vein > artery  # situs inversus: vena cava left of the aorta
    straight = truth.measure_truth(anatomy, truth.disc_plane(anatomy), 0.2)
    turned = truth.measure_truth(mirrored, plane, 0.2)
    assert abs(straight["OC"].value_mm - turned["OC"].value_mm) > 1.0  # type: ignore[operator]
    assert straight["DAA"].value_mm == pytest.approx(turned["DAA"].value_mm, abs=0.5)
