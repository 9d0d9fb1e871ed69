"""The reference value of OC, DAA, DIVC and PI for a prepared case.

A phantom's card holds the true values, cut from its implicit surfaces. Other cases have labels only:
these are measured by the code that measures the model's prediction, on scores made from the labels.
A label map holds no sub-voxel outline, so such a reference is itself uncertain by about 0.1 mm per value
(0.5 mm at worst; spec of the measurements, hard labels), and gaps below 0.4 mm may read as touch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dicomseg.measure.measure import measure
from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.segmentation import Level, Segmentation
from dicomseg.structures import StructureId
from dicomseg.volume import Volume
from model.drawn import drawn_segmentation
from training.data.cases import IGNORED, Case, crop_to_window

Source = Literal["truth", "labels", ""]
HALF_HEIGHT_MM: Final = 45.0
"""Labels are turned into scores this far above and below the level: the plane and its tilted
neighbours stay inside."""
_SPINE: Final[frozenset[StructureId]] = frozenset({"l4", "ivd", "l5", "pm"})
_VESSEL: Final[Mapping[MeasurementName, StructureId]] = {
    "OC": "aa",
    "DAA": "aa",
    "DIVC": "ivc",
    "PI": "ivc",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference value in mm and its source, or why there is none."""

    value_mm: float | None
    source: Source
    note: str = ""


def references(case: Case) -> dict[MeasurementName, Reference]:
    """Return the reference values of one case: the true ones of its card, else measured on its labels."""
    true_values = case.card.get("measurements")
    if isinstance(true_values, Mapping):
        return {name: _true(true_values.get(name)) for name in MAIN_MEASUREMENTS}
    known = set(case.labelled)
    wanted = [n for n in MAIN_MEASUREMENTS if known >= _SPINE | {_VESSEL[n]}]
    if not wanted:
        return {n: Reference(None, "", "not labelled") for n in MAIN_MEASUREMENTS}
    lines = measure(labels_as_segmentation(case)).main
    out = {}
    for name in MAIN_MEASUREMENTS:
        line = lines[name]
        if name not in wanted:
            out[name] = Reference(None, "", "not labelled")
        else:
            note = "" if line.refusal is None else line.refusal.code
            out[name] = Reference(line.value_mm, "labels", note)
    return out


def _true(entry: object) -> Reference:
    if not isinstance(entry, Mapping):
        return Reference(None, "", "not in the card")
    value = entry.get("value_mm")
    return Reference(None if value is None else float(value), "truth", str(entry.get("note", "")))


def labels_as_segmentation(case: Case) -> Segmentation:
    """Return the case's labels in the form of a prediction, inside the paper's window about its level."""
    case = _near_level(crop_to_window(case))
    labels = np.where(case.labels == IGNORED, 0, case.labels).astype(np.uint8)
    volume = Volume(labels, case.affine)
    return drawn_segmentation(volume, Level(case.level_centre_lps, case.level_normal, 1.0))


def _near_level(case: Case) -> Case:
    volume = Volume(case.image, case.affine)
    reach = HALF_HEIGHT_MM / volume.spacing_mm[0]
    middle = float(volume.to_index(np.array(case.level_centre_lps))[0])
    start = int(np.clip(np.floor(middle - reach), 0, volume.shape[0] - 1))
    stop = int(np.clip(np.ceil(middle + reach) + 1, start + 1, volume.shape[0]))
    return case.cropped((start, 0, 0), (stop, *volume.shape[1:]))
