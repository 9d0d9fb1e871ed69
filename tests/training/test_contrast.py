"""Signals of tissues beside marrow, against 28 T2 SPACE series and a simulation of the echo train."""

from __future__ import annotations

import numpy as np
import pytest

from training.mri import draw_contrast

PERSONS = range(200)


def median_of(tissue: str) -> float:
    return float(np.median([draw_contrast(seed).signals[tissue] for seed in PERSONS]))


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [
        ("nerve", 0.85, 1.1),  # echo-train simulation: 0.92 to 0.97; drawn 1.05
        ("rootlet", 0.85, 1.1),  # darkest tenth of the canal, 28 series: 0.98 to 1.08
        ("epidural_fat", 1.5, 2.4),  # behind the sac, 28 series: 2.25 with the coil's gain there
        ("retro_fat", 1.1, 2.0),  # as drawn, no measurement to hold it to
        ("csf", 2.8, 4.2),  # 28 series: 3.6
        ("psoas", 0.25, 0.55),  # echo-train simulation: 0.23 to 0.54
    ],
)
def test_median_signal_beside_marrow(tissue: str, low: float, high: float) -> None:
    assert low < median_of(tissue) < high


def test_a_root_is_darker_than_the_fat_of_the_foramen() -> None:
    signals = [draw_contrast(seed).signals for seed in PERSONS]
    assert np.mean([s["nerve"] < s["epidural_fat"] for s in signals]) > 0.85


def test_random_contrast_keeps_no_order() -> None:
    signals = [draw_contrast(seed, randomised=True).signals for seed in PERSONS]
    assert np.mean([s["csf"] < s["marrow"] for s in signals]) > 0.2
    assert np.mean([s["artery"] > s["marrow"] for s in signals]) > 0.15
