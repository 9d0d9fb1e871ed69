"""What labels of different sources mean: end plates and the canal outside of the sac."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomseg.volume import build_affine
from training.data.cases import ALL_STRUCTURES, IGNORED, Case
from training.data.label_rules import (
    EPIDURAL,
    L4_ENDPLATE,
    L5_ENDPLATE,
    RULED_CHANNELS,
    classes,
    classes_of,
    endplate_codes,
    ruled,
    strip_mm,
)
from training.fit.augment import SPACING_MM

SPACING = np.asarray(SPACING_MM)
SHAPE = (60, 30, 16)


def case(upper_gap: int, lower_gap: int, source: str = "spider") -> Case:
    """Return a body below, a disc of eight slices and a body above, with so many unlabelled slices between."""
    labels, spine = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    disc = 24
    for value, code, first, last in (
        (3, 1, 4, disc - lower_gap),
        (2, 202, disc, disc + 8),
        (1, 2, disc + 8 + upper_gap, 56),
    ):
        labels[first:last, 6:24, 3:13] = value
        spine[first:last, 6:24, 3:13] = code
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (0.0, 0.0, 0.0))
    made = Case(
        "c", "p", "spider", np.zeros(SHAPE, np.float32), labels, affine,
        ("l4", "ivd", "l5", "dura"), (6.0, 11.0, 22.0), (0.0, 0.0, 1.0), {}, spine=spine,
    )  # fmt: skip
    return replace(made, source=source)  # type: ignore[arg-type]


def slices_with(labels: np.ndarray, value: int) -> list[int]:
    return sorted(set(np.argwhere(labels == value)[:, 0].tolist()))


def test_the_strip_between_disc_and_body_is_measured() -> None:
    made = case(2, 1)
    assert strip_mm(made.labels, 1, 2, SPACING) == pytest.approx(1.6)
    assert strip_mm(made.labels, 3, 2, SPACING) == pytest.approx(0.8)
    assert strip_mm(case(0, 0).labels, 1, 2, SPACING) == pytest.approx(0.0)
    assert strip_mm(case(9, 0).labels, 1, 2, SPACING) is None  # 7.2 mm is no end plate


@pytest.mark.parametrize("whole_spine", [True, False])
def test_unlabelled_strips_become_end_plates_as_wide_as_the_bodies(whole_spine: bool) -> None:
    made = case(2, 1)
    found = ruled(made if whole_spine else replace(made, spine=None)).labels
    assert slices_with(found, L4_ENDPLATE) == [32, 33]
    assert slices_with(found, L5_ENDPLATE) == [23]
    # nothing beside the column: at most a voxel beyond its walls
    inside = np.zeros(SHAPE, bool)
    inside[:, 5:25, 2:14] = True
    assert not np.isin(found[~inside], (L4_ENDPLATE, L5_ENDPLATE)).any()
    assert (found[32:34, 6:24, 3:13] == L4_ENDPLATE).all()
    for value in (1, 2, 3):
        assert ((found == value) == (made.labels == value)).all()


def test_without_a_strip_nothing_is_taught_about_the_border() -> None:
    found = ruled(case(0, 2)).labels
    assert slices_with(found, IGNORED) == [31, 32]  # two voxels' centres lie within 1.5 mm of both
    assert slices_with(found, L4_ENDPLATE) == []
    assert slices_with(found, L5_ENDPLATE) == [22, 23]
    assert (found[24:31, 6:24, 3:13] == 2).all()


def test_a_disc_without_a_body_and_a_phantom_are_left_alone() -> None:
    made = case(2, 2)
    alone = replace(made, labels=np.where(made.labels == 2, 2, 0).astype(np.uint8), spine=None)
    assert (ruled(alone).labels == alone.labels).all()
    phantom = replace(case(2, 2, "phantom"), spine=None)
    assert ruled(phantom) is phantom


def test_another_disc_that_serves_as_l45_has_its_own_end_plates() -> None:
    made = case(2, 1)
    shifted = made.spine + np.where(made.spine > 0, 1, 0)  # type: ignore[operator]
    upper = replace(
        made, spine=shifted.astype(np.uint8), labels=np.zeros_like(made.labels),
        disc_centres={"l34": made.level_centre_lps},
    )  # fmt: skip
    served = ruled(upper).at_disc(3, endplate_codes(3))
    assert slices_with(served.labels, L4_ENDPLATE) == [32, 33]
    assert slices_with(served.labels, L5_ENDPLATE) == [23]
    assert slices_with(ruled(upper).at_disc(3).labels, L4_ENDPLATE) == []


def test_a_label_holds_what_its_source_draws_into_it() -> None:
    assert classes(ALL_STRUCTURES) == tuple(range(9))
    assert classes(("l4", "dura")) == (0, 1, 0, 0, 4, 0, 0, 0, 0)
    drawn = classes(ALL_STRUCTURES, RULED_CHANNELS)
    assert drawn == (*range(9), 1, 3, 0)  # bodies with their end plates, and the sac alone
    apart = classes_of(ruled(case(2, 1)), RULED_CHANNELS)
    assert (apart[L4_ENDPLATE], apart[L5_ENDPLATE]) == (L4_ENDPLATE, L5_ENDPLATE)
    assert apart[EPIDURAL] == 4  # SPIDER draws the canal
    assert classes_of(ruled(case(0, 0)), RULED_CHANNELS)[L4_ENDPLATE] == 1
    hospital = ruled(case(2, 1, "imported"))
    assert classes_of(hospital, RULED_CHANNELS)[EPIDURAL] == 0  # and a hospital the sac
    assert classes_of(hospital) == (0, 1, 2, 3, 4, 0, 0, 0, 0)
