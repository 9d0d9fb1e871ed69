"""Model component of measurement uncertainty, estimated on unseen cases.

An error has the variance `sd_mm`² + (`share` · softness)²: where the network is uncertain, the value moves
with the outlines (`Measurement.softness_mm`), and its error is larger (ADR 0017). Both are found together as the
most likely ones for errors with Student's t of four degrees of freedom: a few are entirely wrong, and with a normal
distribution they would make all others uncertain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any, Final

import numpy as np
from scipy import optimize

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.result import ModelError
from training.evaluate.case_results import CaseResult

MIN_PAIRS_FOR_SD: Final = 10
"""Pairs below which nothing goes into a bundle's card."""
MIN_PAIRS_FOR_SHARE: Final = 30
"""Pairs below which the softness is left out: two parameters from few errors follow single ones."""
FREEDOM: Final = 4
MIN_SD_MM: Final = 0.05
"""No value is more certain than this, however firm its outlines; a contour alone is uncertain by 0.02."""


def fit_error(differences: Sequence[float], softness: Sequence[float]) -> ModelError:
    """Return the most likely `ModelError` of differences (automatic − reference, mm); their mean is not part of it."""
    error = np.asarray(differences, np.float64) - np.mean(differences)
    soft = np.asarray(softness, np.float64)

    def surprise(logs: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        sd, share = np.exp(logs)
        variance = max(sd, MIN_SD_MM) ** 2 + (share * soft) ** 2
        scale = variance * (FREEDOM - 2) / FREEDOM
        tail = (FREEDOM + 1) * np.log1p(error**2 / (FREEDOM * scale))
        return float(np.mean(np.log(scale) + tail))

    plain = float(np.std(error))
    starts = [
        np.log([max(plain * sd, MIN_SD_MM), share])
        for sd, share in ((1.0, 0.01), (0.3, 1.0), (0.05, 1.5))
    ]
    fits = [optimize.minimize(surprise, s, method="Nelder-Mead") for s in starts]
    sd, share = np.exp(min(fits, key=lambda f: float(f.fun)).x)
    return ModelError(max(float(sd), MIN_SD_MM), float(share))


def model_errors(cases: Sequence[CaseResult]) -> dict[str, ModelError]:
    """Return the error per measurement over the unseen cases; left out below `MIN_PAIRS_FOR_SD` pairs.

    Of the values that carry a standard deviation: those with a range instead, at a bifurcation, may be off by the
    width of a branch. Without softness in every pair, or with few of them, the plain SD.
    """
    out = {}
    unseen = [c.measurements for c in cases if c.unseen]
    for name in MAIN_MEASUREMENTS:
        pairs = [
            (p.automatic_mm - p.reference_mm, p.softness_mm)
            for p in (m[name] for m in unseen if name in m)
            if p.automatic_mm is not None and p.reference_mm is not None and p.range_mm is None
        ]
        if len(pairs) < MIN_PAIRS_FOR_SD:
            continue
        soft = [s for _, s in pairs if s is not None]
        differences = [d for d, _ in pairs]
        has_softness = len(soft) == len(pairs) >= MIN_PAIRS_FOR_SHARE
        out[str(name)] = (
            fit_error(differences, soft) if has_softness else ModelError(stdev(differences))
        )
    return out


def card_values(errors: Mapping[str, ModelError]) -> dict[str, dict[str, float]]:
    """Return `model_sd_mm` and `model_share` of a bundle's card; empty ones are left out."""
    fields = {
        "model_sd_mm": {n: round(e.sd_mm, 3) for n, e in errors.items()},
        "model_share": {n: round(e.share, 3) for n, e in errors.items() if e.share},
    }
    return {key: values for key, values in fields.items() if values}
