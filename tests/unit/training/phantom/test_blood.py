from __future__ import annotations

import numpy as np
import pytest

from training.phantom.blood import draw_coats
from training.phantom.mri import draw_contrast
from training.phantom.person import stream

PERSONS = range(300)


@pytest.fixture(scope="module")
def varied() -> list[dict[str, float]]:
    return [dict(draw_contrast(seed, vessels="varied").signals) for seed in PERSONS]


def test_only_blood_and_the_fat_beside_it_differ_from_the_usual(
    varied: list[dict[str, float]],
) -> None:
    for seed in range(12):
        usual = draw_contrast(seed).signals
        differ = {name for name, value in varied[seed].items() if value != usual[name]}
        assert (
            {"artery", "vein", "vein_slow"}
            <= differ
            <= {
                "artery",
                "vein",
                "vein_slow",
                "retro_fat",
            }
        )


def test_blood_lies_between_a_void_and_blood_at_rest(varied: list[dict[str, float]]) -> None:
    """At rest, by hand: PD 0.85 against marrow's 0.62; T1, T2 1350, 200 (arterial), 150 (venous) against 560, 76 ms.

    At the longest echo (140 ms): artery 0.85/0.62 · exp(140/76 − 140/200) = 4.3, vein 3.4 times marrow, at most.
    """
    for name, most in (("artery", 0.5 * 4.4), ("vein", 3.5), ("vein_slow", 3.5)):
        values = [signals[name] for signals in varied]
        assert min(values) > 0.005
        assert max(values) < most
    assert np.percentile([s["artery"] for s in varied], 5) < 0.1  # voids remain


def test_blood_is_often_as_grey_as_psoas_and_no_rule_orders_veins_and_arteries(
    varied: list[dict[str, float]],
) -> None:
    ratio = np.array([s["vein"] / s["artery"] for s in varied])
    assert 0.45 < (ratio > 1).mean() < 0.8
    for name in ("artery", "vein"):
        to_psoas = np.array([s[name] / s["psoas"] for s in varied])
        assert ((to_psoas > 0.7) & (to_psoas < 1.4)).mean() > 0.15, name  # hard: no edge to psoas
        usual = np.array([draw_contrast(s).signals[name] for s in PERSONS])
        assert np.std(np.log(to_psoas)) > 1.5 * np.std(np.log(usual)), name


def test_fat_planes_fade_in_half(varied: list[dict[str, float]]) -> None:
    usual = [draw_contrast(seed).signals["retro_fat"] for seed in PERSONS]
    share = np.array([s["retro_fat"] for s in varied]) / usual
    assert 0.4 < (share == 1.0).mean() < 0.6
    assert 0.3 <= share.min() < 0.4


def test_other_weightings_and_random_contrast_keep_their_rule() -> None:
    assert draw_contrast(3, weighting="t1", vessels="varied") == draw_contrast(3, weighting="t1")
    random = draw_contrast(3, randomised=True, vessels="varied").signals
    assert random["marrow"] == draw_contrast(3, randomised=True).signals["marrow"]


def test_coats_begin_at_the_surface_and_slow_flow_is_drawn_in_some() -> None:
    drawn = [draw_coats(stream(seed, "varied blood")) for seed in PERSONS]
    for coats in drawn:
        for layers in (coats.artery, coats.vein):
            depths = [mm for mm, _ in layers]
            assert depths[0] == 0.0
            assert depths == sorted(set(depths))
        assert coats.artery[-1][1] == "artery"
    rings = np.mean([("vein_slow" in [t for _, t in c.artery]) for c in drawn])
    assert 0.12 < rings < 0.28
    assert 0.4 < np.mean([c.slow for c in drawn]) < 0.6
