"""The four values of a correction beside the automatic ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dicomseg.measure.measure import measure
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.read.correction import Correction
from dicomseg.segmentation import Level
from dicomseg.structures import BY_ID
from dicomseg.volume import to_point
from model.drawn import drawn_segmentation, near_level


def measure_again(
    correction: Correction, automatic: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return before and after of the four values, in mm, each None with the code of its refusal.

    automatic: `result.json` of the result that was corrected. The level is where the reader drew the disc.
    """
    volume = correction.volume
    centre = to_point(volume.to_patient(volume.where(BY_ID["ivd"].value).mean(axis=0)))
    level = Level(centre, _normal(automatic), 1.0)
    after = measure(drawn_segmentation(near_level(volume, level), level)).main
    before = automatic.get("measurements")
    out: dict[str, dict[str, Any]] = {}
    for name in MAIN_MEASUREMENTS:
        line, earlier = after[name], _entry(before, name)
        out[name] = {
            "before_mm": earlier.get("value_mm"),
            "before_refusal": _entry(earlier, "refusal").get("code"),
            "after_mm": None if line.value_mm is None else round(line.value_mm, 3),
            "after_refusal": None if line.refusal is None else line.refusal.code,
        }
    return out


def _entry(holder: object, name: str) -> Mapping[str, Any]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _normal(automatic: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return the normal of the automatic level; straight up where it is not known."""
    given = _entry(automatic, "level").get("normal")
    normal = np.array(given if isinstance(given, list) and len(given) == 3 else (0.0, 0.0, 1.0))
    return to_point(normal / np.linalg.norm(normal))
