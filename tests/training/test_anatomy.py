from __future__ import annotations

import numpy as np
import pytest

from training.anatomy import build_anatomy
from training.person import draw_person, draw_targets


@pytest.fixture(scope="module")
def ours():  # type: ignore[no-untyped-def]
    return build_anatomy(11)


def test_way_to_the_patient_and_back(ours) -> None:  # type: ignore[no-untyped-def]
    points = np.random.default_rng(0).uniform(-60, 60, (200, 3))
    assert np.allclose(ours.place.to_anatomy(ours.place.to_lps(points)), points, atol=1e-6)


def test_the_bend_never_folds_and_keeps_handedness(ours) -> None:  # type: ignore[no-untyped-def]
    centre, step = np.random.default_rng(1).uniform(-60, 60, (300, 3)), 0.5
    jacobian = np.stack(
        [
            (ours.place.to_anatomy(centre + step * e) - ours.place.to_anatomy(centre - step * e))
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
