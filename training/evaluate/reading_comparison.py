"""Predictions on real volumes compared with what readers drew on the mid-disc plane.

A folder with NN.image.nii.gz, NN.labels.nii.gz (1 = L5, 2 = L4, 3 … = bodies above, nothing else) and `readings.json`
(see `training.evaluate.readings`). Each volume passes the inference pipeline, level finder included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import numpy as np
from scipy import ndimage
from shapely import contains_xy
from shapely.geometry import Polygon

from dicomseg.measure.contours import Outlines, outline_sections
from dicomseg.measure.measure import measure
from dicomseg.measure.plane import Raster, to_lps
from dicomseg.measure.scene import MARGIN_MM
from dicomseg.measure.score_field import ScoreField
from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.result import Measurement, Measurements
from dicomseg.segmentation import Finding, NotInView, Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Volume
from model.bundle.load import LoadedModel
from model.errors import WindowRefused
from model.segment import segment
from training.evaluate.metrics import dice
from training.evaluate.readings import KINDS, Kind, VolumeReadings, read_readings
from training.importing.volumes import read_volume

STRIP_MM: Final = 1.5
"""Bodies are compared without the voxels this near to the reference's surface: labels and network disagree on whether the
cortex belongs to a body."""
BODIES: Final[Mapping[StructureId, int]] = {"l5": 1, "l4": 2}
"""Values of the bodies in NN.labels.nii.gz."""
FAR_MM: Final = 5.0
"""A value further than this from the readings has to carry a flag or a range."""
NO_DOUBT: Final = frozenset({"grade_borderline"})
"""Flags that doubt the grade and not the value."""
STRUCTURE: Final[Mapping[Kind, StructureId]] = {
    "artery": "aa",
    "vein": "ivc",
    "psoas_left": "pm",
    "psoas_right": "pm",
}
RASTER: Final = Raster(-60.0, -60.0, 0.5, (241, 181))
"""Where Dice in the plane is counted, clipped to what the image and the window hold."""


@dataclass(frozen=True, slots=True)
class ReadValue:
    """One measurement and its readings, mm. value_mm: None where it was refused; `refusal` is the code."""

    value_mm: float | None
    refusal: str
    flags: tuple[str, ...]
    range_mm: tuple[float, float] | None
    uncertainty_mm: float | None
    readings_mm: tuple[float, ...]

    @property
    def differences_mm(self) -> tuple[float, ...]:
        """Value minus each reading; empty where it was refused."""
        return () if self.value_mm is None else tuple(self.value_mm - r for r in self.readings_mm)

    @property
    def off_mm(self) -> float | None:
        """Value minus the mean of the readings."""
        differences = self.differences_mm
        return fmean(differences) if differences else None

    @property
    def spread_mm(self) -> float | None:
        """Largest minus least reading; None with fewer than two."""
        readings = self.readings_mm
        return max(readings) - min(readings) if len(readings) > 1 else None

    @property
    def is_marked(self) -> bool:
        """Whether the value carries a flag or a range, so that it may be far off."""
        return bool(set(self.flags) - NO_DOUBT) or self.range_mm is not None


@dataclass(frozen=True, slots=True, eq=False)
class VolumeComparison:
    """One volume: its prediction and its readings."""

    readings: VolumeReadings
    image: Volume
    segmentation: Segmentation | None
    why: str
    """Reason where there is no segmentation."""
    values: Mapping[MeasurementName, ReadValue]
    plane_dice: Mapping[Kind, tuple[float, ...]]
    """By kind, one per reading."""
    bodies_dice: Mapping[StructureId, float]
    """Without the rim, see `STRIP_MM`."""
    measured: Measurements | None
    warnings: tuple[Finding, ...]


def compare_all(
    folder: Path, model: LoadedModel, report: Callable[[str], None] = lambda _: None
) -> list[VolumeComparison]:
    """Compare every volume that the folder's readings name; `report` is called with the name of each finished one.

    Raises:
        ReadingsUnreadable, ImportRefused: a file that is missing or damaged.
    """
    comparisons = []
    for readings in read_readings(folder):
        comparisons.append(_compare(folder, readings, model))
        report(readings.name)
    return comparisons


def _compare(folder: Path, readings: VolumeReadings, model: LoadedModel) -> VolumeComparison:
    image, labels = (
        read_volume(folder / f"{readings.name}.{kind}.nii.gz") for kind in ("image", "labels")
    )
    image = image.with_array(image.array.astype(np.float32))
    try:
        outcome = segment(image, model)
    except WindowRefused as refused:
        outcome = NotInView(f"{refused.code}: {refused}")
    if isinstance(outcome, NotInView):
        values = _values(readings, None)
        return VolumeComparison(readings, image, None, outcome.reason, values, {}, {}, None, ())
    measured = measure(outcome, model.model_errors)
    return VolumeComparison(
        readings,
        image,
        outcome,
        "",
        _values(readings, measured.main),
        plane_dice(readings, outcome),
        bodies_dice(outcome, labels),
        measured,
        (*outcome.findings, *measured.findings),
    )


def _values(
    readings: VolumeReadings, main: Mapping[MeasurementName, Measurement] | None
) -> dict[MeasurementName, ReadValue]:
    by_reader = [reading.values_mm() for reading in readings.readings]
    values = {}
    for name in MAIN_MEASUREMENTS:
        readings_mm = tuple(read[name] for read in by_reader if name in read)
        if main is None:
            values[name] = ReadValue(None, "no_answer", (), None, None, readings_mm)
            continue
        m = main[name]
        code = "" if m.refusal is None else m.refusal.code
        values[name] = ReadValue(
            m.value_mm, code, m.flags, m.range_mm, m.uncertainty_mm, readings_mm
        )
    return values


def _field(segmentation: Segmentation, readings: VolumeReadings) -> ScoreField:
    return ScoreField.around(segmentation, to_lps(readings.plane, RASTER.corners_ab), MARGIN_MM)


def predicted_outlines(segmentation: Segmentation, readings: VolumeReadings) -> Outlines:
    """Return the predicted outlines on the readers' plane, by the code that measures."""
    return outline_sections(
        _field(segmentation, readings), readings.plane, RASTER, ("aa", "pm", "ivc", "ivd", "dura")
    )


def plane_dice(
    readings: VolumeReadings, segmentation: Segmentation
) -> dict[Kind, tuple[float, ...]]:
    """Return the Dice of artery, vein and each psoas on the readers' plane, one per reading, inside the analysed voxels."""
    analysed = _field(segmentation, readings).in_field_of_view(readings.plane, RASTER)
    sections = predicted_outlines(segmentation, readings).sections
    scores: dict[Kind, tuple[float, ...]] = {}
    for kind in KINDS:
        predicted = [s.polygon for s in sections[STRUCTURE[kind]] if _belongs_to(kind, s.polygon)]
        mask = _mask(predicted) & analysed
        scores[kind] = tuple(
            dice(mask, _mask(r.outlines[kind]) & analysed) for r in readings.readings
        )
    return scores


def _belongs_to(kind: Kind, polygon: Polygon) -> bool:
    if kind == "psoas_left":
        return bool(polygon.centroid.x > 0)
    return kind != "psoas_right" or bool(polygon.centroid.x <= 0)


def _mask(polygons: Iterable[Polygon]) -> Array:
    """Return bool (a, b) on `RASTER`: inside any of the polygons."""
    a, b = (
        start + RASTER.step_mm * np.arange(n)
        for start, n in zip((RASTER.a_mm, RASTER.b_mm), RASTER.shape, strict=True)
    )
    x, y = np.meshgrid(a, b, indexing="ij")
    mask = np.zeros(RASTER.shape, bool)
    for polygon in polygons:
        mask |= contains_xy(polygon, x, y)
    return mask


def bodies_dice(segmentation: Segmentation, labels: Volume) -> dict[StructureId, float]:
    """Return the Dice of L4 and L5 inside the window without a strip of `STRIP_MM` on both sides of the reference's surface."""
    out: dict[StructureId, float] = {}
    for name, value in BODIES.items():
        truth = labels.array == value
        if not truth.any():
            continue
        spacing = labels.spacing_mm
        inside = ndimage.distance_transform_edt(truth, spacing)
        outside = ndimage.distance_transform_edt(~truth, spacing)
        counted = (np.maximum(inside, outside) > STRIP_MM) & segmentation.labels.analysed_mask
        predicted = segmentation.labels.volume.array == BY_ID[name].value
        out[name] = dice(predicted & counted, truth & counted)
    return out


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """One measurement over all volumes, mm. unmarked: names of values off by more than `FAR_MM` without flag or range.

    between_mm: median spread of the readings, over the volumes whose value is given.
    """

    name: MeasurementName
    given: int
    volumes: int
    median_mm: float | None
    largest_mm: float | None
    between_mm: float | None
    far: tuple[str, ...]
    unmarked: tuple[str, ...]
    marked: int


def summarise(comparisons: Sequence[VolumeComparison], name: MeasurementName) -> ComparisonSummary:
    """Summarise one measurement."""
    pairs = [(c.readings.name, c.values[name]) for c in comparisons]
    off = {n: abs(v.off_mm) for n, v in pairs if v.off_mm is not None}
    between = [v.spread_mm for n, v in pairs if n in off and v.spread_mm is not None]
    far = tuple(n for n, apart in off.items() if apart > FAR_MM)
    values = dict(pairs)
    return ComparisonSummary(
        name,
        len(off),
        len(pairs),
        median(off.values()) if off else None,
        max(off.values(), default=None),
        median(between) if between else None,
        far,
        tuple(n for n in far if not values[n].is_marked),
        sum(v.is_marked for _, v in pairs if v.value_mm is not None),
    )


def to_json(comparisons: Sequence[VolumeComparison], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as plain values; about: name, version, digest and engine of the model."""
    return {
        "schema": 1,
        "model": dict(about),
        "cases": [
            {
                "case": c.readings.name,
                "why": c.why,
                "confidence": None if c.segmentation is None else c.segmentation.level.confidence,
                "measurements": {
                    name: {
                        "value_mm": v.value_mm,
                        "refusal": v.refusal,
                        "flags": list(v.flags),
                        "range_mm": v.range_mm,
                        "uncertainty_mm": v.uncertainty_mm,
                        "readings_mm": list(v.readings_mm),
                        "differences_mm": list(v.differences_mm),
                    }
                    for name, v in c.values.items()
                },
                "plane_dice": {k: list(v) for k, v in c.plane_dice.items()},
                "bodies_dice": dict(c.bodies_dice),
                "warnings": [{"code": f.code, "text": f.text} for f in c.warnings],
            }
            for c in comparisons
        ],
    }
