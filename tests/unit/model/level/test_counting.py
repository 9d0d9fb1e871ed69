"""Naming discs by their chain: which counting wins, how sure it is, and the level that follows."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.segmentation import Level, NotInView
from model.level.counting import Candidate, Chain, best_chain, level_from_chain, scale_to_usual_size
from model.networks.disc_channels import ABOVE, L45

STEP = np.array([0.0, -4.0, 35.0])


def disc(place: int, *identity: float) -> Candidate:
    """A disc `place` steps above L5/S1 with the given channel probabilities."""
    full = np.zeros(ABOVE + 1)
    full[: len(identity)] = identity
    return Candidate(np.array([2.0, 10.0, -60.0]) + place * STEP, full)


def spine(*places: int, peak: float = 0.8, shadow: float = 0.0) -> list[Candidate]:
    """Discs that know their own name with `peak` and also look like their upper neighbour by `shadow`."""
    found = []
    for place in places:
        identity = [0.0] * (ABOVE + 1)
        identity[place] = peak
        identity[min(place + 1, ABOVE)] = max(shadow, identity[min(place + 1, ABOVE)])
        found.append(disc(place, *identity))
    return found


def named(chain: Chain) -> list[int]:
    return [channel for channel, _ in chain.discs]


def test_a_whole_spine_is_named_from_the_sacrum_upwards() -> None:
    chain = best_chain(spine(0, 1, 2, 3, 4))
    assert named(chain) == [0, 1, 2, 3, 4]
    level = level_from_chain(chain)
    assert isinstance(level, Level)
    np.testing.assert_allclose(level.centre_lps, np.array([2.0, 10.0, -60.0]) + STEP)
    np.testing.assert_allclose(level.normal, STEP / np.linalg.norm(STEP), atol=1e-12)
    assert level.warnings == ()


def test_one_disc_that_looks_like_another_is_outvoted_by_its_neighbours() -> None:
    found = spine(0, 1, 2, 3, 4)
    confused = disc(1, 0.0, 0.3, 0.85)  # L4/5 that looks like L3/4
    found[1] = confused
    chain = best_chain(found)
    assert chain.disc(L45) is confused


def test_the_lead_shrinks_when_every_disc_also_looks_like_its_neighbour() -> None:
    sure, unsure = best_chain(spine(0, 1, 2)), best_chain(spine(0, 1, 2, shadow=0.75))
    assert sure.margin > 0.6 > unsure.margin >= 0.0
    level = level_from_chain(unsure)
    assert isinstance(level, NotInView) or level.confidence < 0.5


def test_a_disc_that_was_not_seen_leaves_a_gap_of_two_steps() -> None:
    assert named(best_chain(spine(0, 1, 3, 4))) == [0, 1, 3, 4]


def test_l45_between_two_discs_that_are_seen_is_put_halfway_and_warned_of() -> None:
    chain = best_chain(spine(0, 2, 3, 4))
    assert named(chain) == [0, 2, 3, 4]
    level = level_from_chain(chain)
    assert isinstance(level, Level)
    np.testing.assert_allclose(level.centre_lps, np.array([2.0, 10.0, -60.0]) + STEP)
    np.testing.assert_allclose(level.normal, STEP / np.linalg.norm(STEP), atol=1e-12)
    assert 0.25 < level.confidence < 0.5
    assert any("not seen: it was put halfway" in text for text in level.warnings)
    assert any("uncertain" in text for text in level.warnings)


def test_a_gap_that_could_be_counted_otherwise_gives_no_level() -> None:
    found = spine(0, 2, 3, peak=0.6)
    found[0].identity[1] = 0.58  # L5/S1 that is as much an L4/5
    found[1].identity[3] = 0.58
    found[2].identity[4] = 0.58
    assert isinstance(level_from_chain(best_chain(found)), NotInView)


def test_a_faint_disc_does_not_make_a_sure_counting_doubtful() -> None:
    """As in SPIDER 152: nine discs named right, L4/5 at the slab's edge with a peak of 0.43."""
    found = spine(0, 1, 2, 3, 4, peak=0.65)
    found[1].identity[L45] = 0.43
    chain = best_chain(found)
    assert named(chain) == [0, 1, 2, 3, 4]
    assert chain.margin == pytest.approx(4 * 0.35 + 0.13)
    level = level_from_chain(chain)
    assert isinstance(level, Level)
    assert level.confidence == pytest.approx(0.43)
    assert any("uncertain" in text for text in level.warnings)


def test_a_second_peak_on_the_same_disc_is_no_other_counting() -> None:
    found = spine(0, 1, 2, 3)
    beside = Candidate(found[1].centre_lps + np.array([9.0, 0.0, 2.0]), 0.95 * found[1].identity)
    twice = best_chain(sorted([*found, beside], key=lambda c: float(c.centre_lps[2])))
    assert twice.margin == pytest.approx(best_chain(found).margin)


def test_two_peaks_too_close_for_neighbours_are_never_both_in_the_chain() -> None:
    twin = Candidate(
        disc(1).centre_lps + np.array([0.0, 0.0, 9.0]), disc(2, 0.0, 0.0, 0.7).identity
    )
    chain = best_chain(sorted([*spine(0, 1, 2), twin], key=lambda c: float(c.centre_lps[2])))
    assert all(c is not twin for _, c in chain.discs)


def test_upper_lumbar_discs_alone_give_no_level() -> None:
    assert isinstance(level_from_chain(best_chain(spine(2, 3, 4))), NotInView)


@pytest.mark.parametrize(
    ("peak", "own", "warned"),
    [(0.74, 0.8, True), (0.6, 0.8, False), (0.55, 0.6, True), (0.5, 0.6, False)],
)
def test_a_place_below_the_chain_that_looks_like_l5s1_is_warned_of(
    peak: float, own: float, *, warned: bool
) -> None:
    """As in SPIDER 98, where a finder counted from L4/5 and left L5/S1 out: 24 mm below, peak 0.74.

    And as in SPIDER 162, where both looked as much like L5/S1.
    """
    below = disc(0, peak)
    below = Candidate(below.centre_lps - np.array([0.0, 15.0, 20.0]), below.identity)
    level = level_from_chain(best_chain([below, *spine(0, 1, 2, 3, peak=own)]))
    assert isinstance(level, Level)
    np.testing.assert_allclose(level.centre_lps, np.array([2.0, 10.0, -60.0]) + STEP)
    assert any("also looks like L5/S1" in text for text in level.warnings) is warned


def test_nothing_found_gives_no_level() -> None:
    answer = level_from_chain(best_chain([]))
    assert answer == NotInView("L4/5 not in the field of view")


def test_a_slab_with_only_l45_and_part_of_a_neighbour_is_accepted() -> None:
    level = level_from_chain(best_chain(spine(1, 2)))
    assert isinstance(level, Level)
    assert any("L5/S1 is not seen" in text for text in level.warnings)


def test_a_single_disc_is_accepted_with_an_upright_normal_and_less_confidence() -> None:
    alone, all_of_them = (
        level_from_chain(best_chain(spine(1))),
        level_from_chain(best_chain(spine(0, 1, 2))),
    )
    assert isinstance(alone, Level)
    assert isinstance(all_of_them, Level)
    assert alone.normal == (0.0, 0.0, 1.0)
    assert alone.confidence < all_of_them.confidence


def sized(step_mm: float, *channels: int) -> Chain:
    """A chain whose named discs lie `step_mm` apart for each step in height."""
    above = [n for n, channel in enumerate(channels) if channel == ABOVE]
    heights = [c + (above.index(n) if c == ABOVE else 0) for n, c in enumerate(channels)]
    discs = [Candidate(np.array([0.0, 0.0, h * step_mm]), np.ones(ABOVE + 1)) for h in heights]
    return Chain(tuple(zip(channels, discs, strict=True)))


def test_the_usual_size_follows_the_steps_between_neighbours() -> None:
    assert scale_to_usual_size(sized(28.0, 0, 1, 2)) == pytest.approx(36 / 28)
    assert scale_to_usual_size(sized(45.0, 2, 3, 4, 5, 5)) == pytest.approx(36 / 45)
    assert scale_to_usual_size(sized(33.5, 0, 1, 2, 3)) == 1.0  # near the usual one
    assert scale_to_usual_size(sized(23.0, 0, 1, 2, 3)) == 1.33  # no child is shown as larger
    assert scale_to_usual_size(sized(28.0, 0, 1)) == 1.0  # one step tells too little
    assert scale_to_usual_size(sized(28.0, 0, 2, 3)) == 1.0  # and passing over a disc is none
    assert scale_to_usual_size(Chain(())) == 1.0
