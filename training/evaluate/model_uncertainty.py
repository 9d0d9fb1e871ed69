"""What a model adds to the uncertainty of a measurement, from its errors on cases that it never saw.

An error has the variance `sd_mm`² + (`share` · softness)²: where the network is not sure, the value moves as the
outlines give and take (`Measurement.softness_mm`), and its error is larger (ADR 0017). Both are found together as the
most likely ones for errors with Student's t of four degrees of freedom: a few are wrong as a whole, and a normal
distribution would make all others uncertain for their sake.
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

LEAST_FOR_SD: Final = 10
"""Pairs below which nothing goes into a bundle's card."""
LEAST_FOR_SHARE: Final = 30
"""Pairs below which the softness is left out: two figures from few errors follow single ones."""
FREEDOM: Final = 4
LEAST_SD_MM: Final = 0.05
"""No value is surer than this, however firm its outlines; a contour alone is uncertain by 0.02."""


def fitted(differences: Sequence[float], softness: Sequence[float]) -> ModelError:
    """Return the most likely `ModelError` of differences (automatic − reference, mm); their mean is not part of it."""
    error = np.asarray(differences, np.float64) - np.mean(differences)
    soft = np.asarray(softness, np.float64)

    def surprise(logs: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        sd, share = np.exp(logs)
        variance = max(sd, LEAST_SD_MM) ** 2 + (share * soft) ** 2
        scale = variance * (FREEDOM - 2) / FREEDOM
        tail = (FREEDOM + 1) * np.log1p(error**2 / (FREEDOM * scale))
        return float(np.mean(np.log(scale) + tail))

    plain = float(np.std(error))
    starts = [
        np.log([max(plain * sd, LEAST_SD_MM), share])
        for sd, share in ((1.0, 0.01), (0.3, 1.0), (0.05, 1.5))
    ]
    found = [optimize.minimize(surprise, s, method="Nelder-Mead") for s in starts]
    sd, share = np.exp(min(found, key=lambda f: float(f.fun)).x)
    return ModelError(max(float(sd), LEAST_SD_MM), float(share))


def model_errors(cases: Sequence[CaseResult]) -> dict[str, ModelError]:
    """Per measurement over the unseen cases; left out below `LEAST_FOR_SD` pairs.

    Of the values that carry a standard deviation: those with a range instead, at a bifurcation, may be off by the
    width of a limb, and say so. Without softness in every pair, or with few of them, the plain SD.
    """
    out = {}
    unseen = [c.measurements for c in cases if c.unseen]
    for name in MAIN_MEASUREMENTS:
        pairs = [
            (p.automatic_mm - p.reference_mm, p.softness_mm)
            for p in (m[name] for m in unseen if name in m)
            if p.automatic_mm is not None and p.reference_mm is not None and p.range_mm is None
        ]
        if len(pairs) < LEAST_FOR_SD:
            continue
        soft = [s for _, s in pairs if s is not None]
        differences = [d for d, _ in pairs]
        whole = len(soft) == len(pairs) >= LEAST_FOR_SHARE
        out[str(name)] = fitted(differences, soft) if whole else ModelError(stdev(differences))
    return out


def card_values(errors: Mapping[str, ModelError]) -> dict[str, dict[str, float]]:
    """`model_sd_mm` and `model_share` of a bundle's card; what is empty is left out."""
    told = {
        "model_sd_mm": {n: round(e.sd_mm, 3) for n, e in errors.items()},
        "model_share": {n: round(e.share, 3) for n, e in errors.items() if e.share},
    }
    return {key: values for key, values in told.items() if values}
