"""Outlines that readers drew on the mid-disc plane, and the four measurements that follow from them.

`readings.json`: {"cases": {NN: {"plane": {point_lps, normal_lps, a_lps, b_lps}, "readings": [{"reader", "structures":
[{"kind": artery | vein | psoas_left | psoas_right, "points": [[a, b], …]}]}]}}}; points in mm on the plane, LPS =
point_lps + a · a_lps + b · b_lps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from shapely.geometry import Polygon

from dicomseg.measure.lengths import gap, max_feret
from dicomseg.measurement_names import MeasurementName
from dicomseg.result import Plane
from training.errors import ReadingsUnreadable

READINGS: Final = "readings.json"
Kind = Literal["artery", "vein", "psoas_left", "psoas_right"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one reader drew: polygons (a, b) in mm by kind."""

    reader: str
    outlines: Mapping[Kind, tuple[Polygon, ...]]

    def values_mm(self) -> dict[MeasurementName, float]:
        """Return the measurements: shortest gap of a psoas and a vessel, widest vessel section."""
        artery, vein = self.outlines["artery"], self.outlines["vein"]
        left, right = self.outlines["psoas_left"], self.outlines["psoas_right"]
        values: dict[MeasurementName, float] = {}
        if left and artery:
            values["OC"] = min(gap(p, v).length_mm for p in left for v in artery)
        if artery:
            values["DAA"] = max(max_feret(v).length_mm for v in artery)
        if vein:
            values["DIVC"] = max(max_feret(v).length_mm for v in vein)
        if right and vein:
            values["PI"] = min(gap(p, v).length_mm for p in right for v in vein)
        return values


@dataclass(frozen=True, slots=True, eq=False)
class VolumeReadings:
    """The readings of one volume, and the plane that they were drawn on."""

    name: str
    plane: Plane
    readings: tuple[Reading, ...]


def read_readings(folder: Path) -> list[VolumeReadings]:
    """Read `readings.json` of a folder, in the order of the names.

    Raises:
        ReadingsUnreadable: not there, no JSON, or of another form.
    """
    file = folder / READINGS
    try:
        cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
        return [_read(name, cases[name]) for name in sorted(cases)]
    except OSError as error:
        raise ReadingsUnreadable(
            f"{file}: {error.strerror}; give a folder of volumes with {READINGS}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadingsUnreadable(
            f"{file}: {type(error).__name__} {error}; its form is described by `lumbar-train check-real --help`"
        ) from error


def _read(name: str, case: Mapping[str, Any]) -> VolumeReadings:
    plane = case["plane"]
    axes = (plane["point_lps"], plane["normal_lps"], plane["a_lps"], plane["b_lps"])
    point, normal, left, back = ((float(x), float(y), float(z)) for x, y, z in axes)
    readings = tuple(_reading(r) for r in case["readings"])
    return VolumeReadings(name, Plane(point, normal, left, back), readings)


def _reading(reading: Mapping[str, Any]) -> Reading:
    outlines: dict[Kind, list[Polygon]] = {kind: [] for kind in KINDS}
    for structure in reading["structures"]:
        outline = Polygon(structure["points"])
        # a manually drawn outline may cross itself by a hair
        outlines[structure["kind"]].append(outline if outline.is_valid else outline.buffer(0))
    return Reading(
        str(reading["reader"]), {kind: tuple(polygons) for kind, polygons in outlines.items()}
    )
