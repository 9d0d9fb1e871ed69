"""Answers on real volumes beside what readers drew on the mid-disc plane.

A folder with NN.image.nii.gz, NN.labels.nii.gz (1 = L5, 2 = L4, 3 … = bodies above, nothing else) and `readings.json`
(see `training.evaluate.readings`). Each volume goes the service's own way, level finder included.
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

from dicomseg.measure.contours import Outlines, outlines
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
from training.evaluate.readings import KINDS, Kind, Read, read
from training.importing.nifti import volume_of

STRIP_MM: Final = 1.5
"""Bodies are compared without the voxels this near to the reference's surface: whether the cortex belongs to a body is
told otherwise by the labels than by the network."""
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
class Beside:
    """One measurement beside its readings, mm. value_mm: None where it was refused, `refusal` says by which code."""

    value_mm: float | None
    refusal: str
    flags: tuple[str, ...]
    range_mm: tuple[float, float] | None
    uncertainty_mm: float | None
    readings_mm: tuple[float, ...]

    @property
    def differences_mm(self) -> tuple[float, ...]:
        """Value less each reading; empty where it was refused."""
        return () if self.value_mm is None else tuple(self.value_mm - r for r in self.readings_mm)

    @property
    def off_mm(self) -> float | None:
        """Value less the mean of the readings."""
        apart = self.differences_mm
        return fmean(apart) if apart else None

    @property
    def spread_mm(self) -> float | None:
        """Largest less least reading; None with fewer than two."""
        told = self.readings_mm
        return max(told) - min(told) if len(told) > 1 else None

    @property
    def is_marked(self) -> bool:
        """Whether the value says itself that it may be far off: by a flag or a range."""
        return bool(set(self.flags) - NO_DOUBT) or self.range_mm is not None


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """One volume. why: of a volume without an answer. plane_dice: per kind, one per reading; bodies_dice: see `STRIP_MM`."""

    read: Read
    image: Volume
    found: Segmentation | None
    why: str
    values: Mapping[MeasurementName, Beside]
    plane_dice: Mapping[Kind, tuple[float, ...]]
    bodies_dice: Mapping[StructureId, float]
    measured: Measurements | None
    warnings: tuple[Finding, ...]


def checked(
    folder: Path, model: LoadedModel, report: Callable[[str], None] = lambda _: None
) -> list[Checked]:
    """Check every volume that the folder's readings name; `report` is called with each name when it is done.

    Raises:
        ReadingsUnreadable, ImportRefused: a file that is missing or damaged.
    """
    out = []
    for one in read(folder):
        out.append(_checked(folder, one, model))
        report(one.name)
    return out


def _checked(folder: Path, one: Read, model: LoadedModel) -> Checked:
    image, labels = (
        volume_of(folder / f"{one.name}.{kind}.nii.gz") for kind in ("image", "labels")
    )
    image = image.with_array(image.array.astype(np.float32))
    try:
        found = segment(image, model)
    except WindowRefused as refused:
        found = NotInView(f"{refused.code}: {refused}")
    if isinstance(found, NotInView):
        return Checked(one, image, None, found.reason, _beside(one, None), {}, {}, None, ())
    measured = measure(found, model.model_errors)
    return Checked(
        one,
        image,
        found,
        "",
        _beside(one, measured.main),
        plane_dice(one, found),
        bodies_dice(found, labels),
        measured,
        (*found.findings, *measured.findings),
    )


def _beside(
    one: Read, main: Mapping[MeasurementName, Measurement] | None
) -> dict[MeasurementName, Beside]:
    told = [reading.values_mm() for reading in one.readings]
    out = {}
    for name in MAIN_MEASUREMENTS:
        readings = tuple(values[name] for values in told if name in values)
        if main is None:
            out[name] = Beside(None, "no_answer", (), None, None, readings)
            continue
        m = main[name]
        code = "" if m.refusal is None else m.refusal.code
        out[name] = Beside(m.value_mm, code, m.flags, m.range_mm, m.uncertainty_mm, readings)
    return out


def _field(found: Segmentation, one: Read) -> ScoreField:
    return ScoreField.around(found, to_lps(one.plane, RASTER.corners_ab), MARGIN_MM)


def drawn(found: Segmentation, one: Read) -> Outlines:
    """The answer's outlines on the readers' plane, by the code that measures."""
    return outlines(_field(found, one), one.plane, RASTER, ("aa", "pm", "ivc", "ivd", "dura"))


def plane_dice(one: Read, found: Segmentation) -> dict[Kind, tuple[float, ...]]:
    """Dice of artery, vein and each psoas on the readers' plane, one per reading, where the answer looked."""
    seen = _field(found, one).in_field_of_view(one.plane, RASTER)
    ours = drawn(found, one).sections
    out: dict[Kind, tuple[float, ...]] = {}
    for kind in KINDS:
        mine = [s.polygon for s in ours[STRUCTURE[kind]] if _is_of(kind, s.polygon)]
        mask = _mask(mine) & seen
        out[kind] = tuple(dice(mask, _mask(r.outlines[kind]) & seen) for r in one.readings)
    return out


def _is_of(kind: Kind, polygon: Polygon) -> bool:
    if kind == "psoas_left":
        return bool(polygon.centroid.x > 0)
    return kind != "psoas_right" or bool(polygon.centroid.x <= 0)


def _mask(polygons: Iterable[Polygon]) -> Array:
    """Bool (a, b) on `RASTER`: inside any of the polygons."""
    a, b = (
        start + RASTER.step_mm * np.arange(n)
        for start, n in zip((RASTER.a_mm, RASTER.b_mm), RASTER.shape, strict=True)
    )
    x, y = np.meshgrid(a, b, indexing="ij")
    mask = np.zeros(RASTER.shape, bool)
    for polygon in polygons:
        mask |= contains_xy(polygon, x, y)
    return mask


def bodies_dice(found: Segmentation, labels: Volume) -> dict[StructureId, float]:
    """Dice of L4 and L5 inside the window without a strip of `STRIP_MM` on both sides of the reference's surface."""
    out: dict[StructureId, float] = {}
    for name, value in BODIES.items():
        truth = labels.array == value
        if not truth.any():
            continue
        spacing = labels.spacing_mm
        inside = ndimage.distance_transform_edt(truth, spacing)
        outside = ndimage.distance_transform_edt(~truth, spacing)
        counted = (np.maximum(inside, outside) > STRIP_MM) & found.labels.analysed_mask
        mine = found.labels.volume.array == BY_ID[name].value
        out[name] = dice(mine & counted, truth & counted)
    return out


@dataclass(frozen=True, slots=True)
class Summary:
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


def summary(found: Sequence[Checked], name: MeasurementName) -> Summary:
    """Sum up one measurement."""
    pairs = [(c.read.name, c.values[name]) for c in found]
    off = {n: abs(v.off_mm) for n, v in pairs if v.off_mm is not None}
    between = [v.spread_mm for n, v in pairs if n in off and v.spread_mm is not None]
    far = tuple(n for n, apart in off.items() if apart > FAR_MM)
    values = dict(pairs)
    return Summary(
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


def to_json(found: Sequence[Checked], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as plain values; about: the model's own words of itself."""
    return {
        "schema": 1,
        "model": dict(about),
        "cases": [
            {
                "case": c.read.name,
                "why": c.why,
                "confidence": None if c.found is None else c.found.level.confidence,
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
            for c in found
        ],
    }
