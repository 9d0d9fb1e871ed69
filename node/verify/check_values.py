"""Checks of what a result says: values, volumes, warnings, and that no object claims what a clinic cannot know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from dicomseg.encode.result_json import DIGITS
from dicomseg.read import attributes
from dicomseg.read.charset import ascii_text
from dicomseg.structures import SEGMENTS
from node.verify import objects
from node.verify.check_identity import Complaint
from node.verify.facts import facts_of
from node.verify.objects import ResultSet

LENGTH_TOLERANCE_MM: Final = 0.05
"""A viewer shows the distance of the end points with one decimal instead of the stored value."""
POINT_TOLERANCE_MM: Final = 0.01
"""Coordinates are float32 pixels of half a millimetre."""
VOLUME_TOLERANCE: Final = 1e-3
"""Relative; `result.json` holds ml with four decimals."""
_SCORE: Final = re.compile(r"\b(dice|DSC|s[oø]rensen)\b", re.IGNORECASE)
_TEXT_VRS: Final = frozenset({"LO", "SH", "LT", "ST", "UT", "UC"})


def lines_have_their_length(results: ResultSet) -> Iterator[Complaint]:
    """Find values that differ from the distance of their end points, and end points from `result.json`."""
    images = {attributes.text(ds, "SOPInstanceUID"): ds for ds in results.objects.values()}
    wanted = results.measurements()
    for name, ds in results.reports.items():
        for group in objects.groups(ds):
            what = objects.quantity_name(objects.tracking(group))
            for number in objects.numbers(group):
                points = _end_points(number, images)
                if points is None:
                    continue
                length, value = (
                    float(np.linalg.norm(points[1] - points[0])),
                    objects.value_of(number),
                )
                if value is None or abs(value - length) >= LENGTH_TOLERANCE_MM:
                    yield name, f"{what}: the stored value is not the distance of its end points"
                reported = wanted.get(what, {}).get("points_mm")
                if (
                    reported is None
                    or np.abs(np.array(reported, float) - points).max() > POINT_TOLERANCE_MM
                ):
                    yield name, f"{what}: its end points are not those of result.json"


def values_are_reported(results: ResultSet) -> Iterator[Complaint]:
    """Find values of `result.json` that no report holds, or holds otherwise, and refused ones with a number."""
    held: dict[str, list[tuple[str, float]]] = {}
    for name, ds in results.reports.items():
        for identifier, value in facts_of(ds).values.items():
            held.setdefault(objects.quantity_name(identifier), []).append((name, value))
    for what, measurement in results.measurements().items():
        wanted = _number(measurement)
        for name, value in held.get(what, ()):
            if wanted is None:
                yield name, f"{what}: has a number; result.json refuses it"
            elif abs(value - wanted) >= _tolerance(measurement):
                yield name, f"{what}: its value is not that of result.json"
        if wanted is not None and what not in held:
            yield "", f"{what}: a value of result.json that no report holds"


def volumes_agree(results: ResultSet) -> Iterator[Complaint]:
    """Find segments whose voxels give another volume than `result.json` or the reports say."""
    voxel_mm3 = float(np.prod([float(v) for v in results.result["source"]["spacing_mm"]]))
    for name, ds in results.objects.items():
        if attributes.text(ds, "Modality") != "SEG":
            continue
        voxels = facts_of(ds).voxels
        by_structure: dict[str, float] = {}
        for segment in SEGMENTS:
            volume = voxels.get(str(segment.number), 0) * voxel_mm3
            key: str = segment.structure.id
            by_structure[key] = by_structure.get(key, 0.0) + volume
            side = "" if segment.side is None else f".{segment.side}"
            yield from _other_volume(results, f"{key}{side}", volume)
        for structure, volume in by_structure.items():
            reported = float(results.result["structures"][structure]["volume_ml"]) * 1000.0
            if not _near(volume, reported):
                yield name, f"{structure}: its voxels give another volume than result.json"


def warnings_are_reported(results: ResultSet) -> Iterator[Complaint]:
    """Find warnings, doubts of the level and refusals of `result.json` that no report has in its text."""
    texts = "\n".join(
        attributes.text(item, "TextValue")
        for ds in results.reports.values()
        for item in objects.content(ds)
    )
    for kind, text in _statements(results.result):
        if " ".join(ascii_text(text).split()) not in texts:
            yield "", f"{kind} of result.json is in no report: {text}"


def nothing_claims_a_score(results: ResultSet) -> Iterator[Complaint]:
    """Find a Dice value: a clinic has no reference to compute one from."""
    if _SCORE.search(json.dumps(results.result, ensure_ascii=False)):
        yield "result.json", "mentions a Dice value"
    for name, ds in results.objects.items():
        found = any(
            e.VR in _TEXT_VRS and _SCORE.search(str(e.value)) for _, e in objects.elements(ds)
        )
        if found:
            yield name, "mentions a Dice value"


def _end_points(number: Dataset, images: Mapping[str, Dataset]) -> Any:
    """End points of the line that a number is inferred from, LPS mm (2, 3); None without one."""
    for item in attributes.items(number, "ContentSequence"):
        if attributes.text(item, "GraphicType") != "POLYLINE":
            continue
        data = attributes.numbers(item, "GraphicData", 4)
        source = next(
            (r for held in attributes.items(item, "ContentSequence")
             for r in attributes.items(held, "ReferencedSOPSequence")), None,
        )  # fmt: skip
        uid = "" if source is None else attributes.text(source, "ReferencedSOPInstanceUID")
        if data is None or uid not in images:
            return np.full((2, 3), np.nan)
        return _patient_points(images[uid], np.array(data).reshape(2, 2))
    return None


def _patient_points(image: Dataset, scoord: Any) -> Any:
    """Convert (column, row), 0.5 at the centre of the first pixel, to LPS mm (PS3.3 C.18.6.1.2)."""
    row_axis, column_axis = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    rows_mm, columns_mm = (float(v) for v in image.PixelSpacing)
    origin = np.array(image.ImagePositionPatient, float)
    along_row, along_column = ((scoord - 0.5) * (columns_mm, rows_mm)).T
    return origin + along_row[:, None] * row_axis + along_column[:, None] * column_axis


def _number(measurement: Mapping[str, Any]) -> float | None:
    """The value in its unit; the four have it in mm only."""
    value = measurement.get("value", measurement.get("value_mm"))
    return None if value is None else float(value)


def _tolerance(measurement: Mapping[str, Any]) -> float:
    """How far a report may be from `result.json`: what rounding makes of a value in its unit."""
    unit = measurement.get("unit", "mm")
    return LENGTH_TOLERANCE_MM if unit == "mm" else 1.1 * 10.0 ** -DIGITS[unit]


def _other_volume(results: ResultSet, key: str, volume_mm3: float) -> Iterator[Complaint]:
    for name, ds in results.reports.items():
        for identifier, value in facts_of(ds).values.items():
            if identifier == f"lumbar-node:{key}" and not _near(value, volume_mm3):
                yield name, f"{key}: its volume is not that of its voxels"


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= max(0.1, VOLUME_TOLERANCE * abs(other))


def _statements(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for warning in result["warnings"]:
        yield f"the warning {warning['code']}", str(warning["text"])
    for text in result["level"]["warnings"]:
        yield "a doubt of the level", str(text)
    for name, m in {**result["measurements"], **result["extra"]}.items():
        if m["refusal"] is not None:
            yield f"the refusal of {name}", str(m["refusal"]["text"])
