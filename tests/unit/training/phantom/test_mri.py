"""Signals of tissues beside marrow, against 28 T2 SPACE series and a simulation of the echo train."""

from __future__ import annotations

import numpy as np
import pytest

from training.phantom.mri import draw_contrast, draw_scan

PERSONS = range(200)


def median_of(tissue: str, y_mm: float) -> float:
    """Signal so far behind the disc's centre, where the coil's gain is one."""
    drawn = [
        draw_contrast(seed).signals[tissue] * np.exp(draw_scan(seed).coil_per_mm * y_mm)
        for seed in PERSONS
    ]
    return float(np.median(drawn))


@pytest.mark.parametrize(
    ("tissue", "y_mm", "low", "high"),
    [
        ("nerve", 0, 0.88, 1.02),  # echo-train simulation: 0.92 to 0.97
        ("psoas", 0, 0.25, 0.55),  # echo-train simulation: 0.23 to 0.54
        ("artery", 0, 0.02, 0.10),  # flow void
        ("vein", 0, 0.08, 0.30),  # flow void of slow blood
        ("csf", 27, 2.9, 4.3),  # 28 series: 3.59
        ("epidural_fat", 40, 1.8, 2.7),  # 28 series: 2.25
        ("retro_fat", -32, 0.56, 0.90),  # 28 series, in front of L4: 0.70
    ],
)
def test_median_signal_beside_marrow(tissue: str, y_mm: float, low: float, high: float) -> None:
    assert low < median_of(tissue, y_mm) < high


def test_a_root_is_darker_than_the_fat_of_the_foramen() -> None:
    signals = [draw_contrast(seed).signals for seed in PERSONS]
    assert np.mean([s["nerve"] < s["epidural_fat"] for s in signals]) > 0.85
    assert np.mean([s["nerve"] < s["retro_fat"] for s in signals]) > 0.7


def test_the_coil_falls_as_in_real_series_or_is_corrected() -> None:
    """28 series: e per 41 to 93 mm (10th to 90th percentile), so 0.011 to 0.024 per mm; 0 when corrected."""
    falls = np.array([draw_scan(seed).coil_per_mm for seed in PERSONS])
    assert 0.009 < np.median(falls) < 0.015
    assert 0.020 < np.percentile(falls, 95) < 0.0245
    assert falls.min() < 0.002


def test_random_contrast_keeps_no_order() -> None:
    signals = [draw_contrast(seed, randomised=True).signals for seed in PERSONS]
    assert np.mean([s["csf"] < s["marrow"] for s in signals]) > 0.2
    assert np.mean([s["artery"] > s["marrow"] for s in signals]) > 0.15
