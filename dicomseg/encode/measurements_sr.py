"""`measurements.dcm`: OC, DAA, DIVC and PI as lines on the mid-disc image (TID 1500, TID 1501).

OHIF lists this form by name and draws it: tracking identifier of its length tool, a
comment as the row's title, first NUM inferred from a two-point POLYLINE, coordinates with the pixel
centre at + 0.5 (PS3.3 C.18.6.1.2). A refused value is a point with its reason beside it (ADR 0027).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomseg.encode.context import EncodeInput, coded_concept, private_code
from dicomseg.encode.sr import Group, algorithm_id, comment, document, report
from dicomseg.encode.text_places import text_places, text_position
from dicomseg.encode.uids import tracking_uid
from dicomseg.measure.measure import GRADE_NAMES, corridor_grade
from dicomseg.measure.value_text import value_text
from dicomseg.measurement_names import TITLES
from dicomseg.read.charset import ascii_text
from dicomseg.result import Measurement, Refusal
from dicomseg.structures import LEVEL_L45
from dicomseg.volume import Array

SERIES_NUMBER: Final = 9003
TOOL: Final = "Cornerstone3DTools@^0.1.0:Length"
REFUSAL_TOOL: Final = "Cornerstone3DTools@^0.1.0:ArrowAnnotate"
"""Tool of a viewer that draws a text with an arrow; a group without any coordinate makes OHIF show nothing at all."""

REASON_LENGTH: Final = 44
"""Longest reason that is written on the picture, in characters: about 60 with the name fit a viewport of 514 pixels."""

_LEFT_MM: Final = 6.0
_LOWEST_MM: Final = 14.0
_STEP_MM: Final = 8.0
"""Where refusals point to: so far from the left and lower edges of the picture, one above the other. OHIF writes the
text below the point and to its right, where nothing is measured."""
MILLIMETRE: Final = hd.sr.CodedConcept("mm", "UCUM", "mm")
UNCERTAINTY: Final = ("UNCERTAINTY", "Standard uncertainty (k = 1)")
RANGE: Final = (
    ("RANGELEAST", "Minimum value near the plane"),
    ("RANGEMOST", "Maximum value near the plane"),
)
"""The two ends of a range that takes the place of an uncertainty."""

GRADE: Final = private_code("CORRIDORGRADE", "Corridor grade (Ng 2020, Spine 45:E552)")
NOT_REPORTED: Final = private_code("NOTREPORTED", "Reason measurement not reported")
_NAMES: Final = {
    "OC": (codes.DCM.Distance, codes.SCT.Minimum),
    "PI": (codes.DCM.Distance, codes.SCT.Minimum),
    "DAA": (codes.SCT.Diameter, codes.SCT.Maximum),
    "DIVC": (codes.SCT.Diameter, codes.SCT.Maximum),
}
_SIDES: Final = {"left": codes.SCT.Left, "right": codes.SCT.Right}
_VESSELS: Final = {
    "abdominal aorta": codes.SCT.AbdominalAorta,
    "common iliac artery": codes.SCT.CommonIliacArtery,
    "inferior vena cava": codes.SCT.InferiorVenaCava,
    "common iliac vein": codes.SCT.CommonIliacVein,
}
"""Codes of the vessels that `Measurement.start` names, a side aside."""
_DIAMETERS: Final = ("DAA", "DIVC")
"""Values of a vessel, which may be one or another."""


def coordinates(image: Dataset, points_lps: Array) -> Array:
    """Convert LPS points on an image to SCOORD (column, row), float32 as stored; centre of the first pixel at 0.5.

    Raises:
        ValueError: a point lies more than 0.05 mm off the image plane.
    """
    row_axis, column_axis = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    origin = np.array(image.ImagePositionPatient, float)
    spacing_rows, spacing_columns = (float(v) for v in image.PixelSpacing)
    offset = points_lps - origin
    if np.abs(offset @ np.cross(row_axis, column_axis)).max() > 0.05:
        raise ValueError("a measured point does not lie on the mid-disc image")
    pixels = (
        np.stack([offset @ row_axis / spacing_columns, offset @ column_axis / spacing_rows], -1)
        + 0.5
    )
    return np.asarray(pixels, dtype=np.float32)


def length_mm(image: Dataset, scoord: Array) -> float:
    """Return the length in mm of a line between two stored coordinates."""
    spacing = np.array([float(image.PixelSpacing[1]), float(image.PixelSpacing[0])])
    return float(np.linalg.norm((scoord[1].astype(float) - scoord[0].astype(float)) * spacing))


def _numbers(m: Measurement, image: Dataset) -> list[hd.sr.Measurement]:
    if m.points_lps is None:
        return []
    scoord = coordinates(image, np.array(m.points_lps))
    name, derivation = _NAMES[m.name]
    line = hd.sr.CoordinatesForMeasurement(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=scoord,
        source_image=hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
    )
    numbers = [
        hd.sr.Measurement(
            name=coded_concept(name),
            value=round(length_mm(image, scoord), 4),
            unit=MILLIMETRE,
            derivation=coded_concept(derivation),
            method=private_code("MIDDISC", "Mid-disc plane, sub-voxel outlines"),
            referenced_coordinates=[line],
        )
    ]
    return numbers + doubts(m)


def doubts(m: Measurement) -> list[hd.sr.Measurement]:
    """Return how well a value is known: its standard uncertainty, or the two ends of its range, in mm."""
    known = [] if m.uncertainty_mm is None else [(UNCERTAINTY, m.uncertainty_mm)]
    known += zip(RANGE, m.range_mm or (), strict=False)
    return [
        hd.sr.Measurement(name=private_code(*what), value=round(float(value), 3), unit=MILLIMETRE)
        for what, value in known
    ]


def _group(
    m: Measurement, inputs: EncodeInput, image: Dataset, row: int, place: Array | None
) -> Group:
    refusal = m.refusal
    tool = TOOL if refusal is None else REFUSAL_TOOL
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(m, inputs, tool),
        finding_type=private_code(m.name, TITLES[m.name]),
        finding_sites=[*vessel_sites(m), finding_site(m)],
        algorithm_id=algorithm_id(inputs),
        measurements=_numbers(m, image) or None,
        qualitative_evaluations=grades(m) if refusal is None else [not_reported(refusal)],
    )
    if refusal is not None:
        group[0].ContentSequence.append(_pointer(image, row))
    if place is not None:
        group[0].ContentSequence.append(text_position(place, image))
    for text in remarks(m, row_title(m)):
        comment(group, text)
    return group


def grades(m: Measurement) -> list[hd.sr.QualitativeEvaluation] | None:
    """Return the grade of the oblique corridor as a code; None for the other values, and where it is refused."""
    if m.name != "OC" or m.value_mm is None:
        return None
    grade = corridor_grade(m.value_mm)
    value = private_code(f"GRADE{grade}", f"Grade {grade}: {GRADE_NAMES[grade]}")
    return [hd.sr.QualitativeEvaluation(GRADE, value)]


def tracking(m: Measurement, inputs: EncodeInput, tool: str) -> hd.sr.TrackingIdentifier:
    """Return the tracking identifier of one value of this patient; the text begins with the tool that draws it."""
    uid = tracking_uid(inputs.headers.patient_id, inputs.headers.issuer, m.name)
    return hd.sr.TrackingIdentifier(uid=uid, identifier=f"{tool}:{m.name}")


def finding_site(m: Measurement) -> hd.sr.FindingSite:
    """Return the level of a measurement, with its side where it has one."""
    laterality = {} if m.side is None else {"laterality": coded_concept(_SIDES[m.side])}
    return hd.sr.FindingSite(coded_concept(LEVEL_L45), **laterality)


def vessel_sites(m: Measurement) -> list[hd.sr.FindingSite]:
    """Return the vessel that a diameter was measured on, with its side; none where it is not known.

    Put in front of the level: some readers take the first site alone.
    """
    if m.name not in _DIAMETERS:
        return []
    side, _, rest = m.start.partition(" ")
    name = rest if side in _SIDES else m.start
    if name not in _VESSELS:
        return []
    laterality = {"laterality": coded_concept(_SIDES[side])} if side in _SIDES else {}
    return [hd.sr.FindingSite(coded_concept(_VESSELS[name]), **laterality)]


def row_title(m: Measurement) -> str:
    """Return the title of a value's row in a viewer: name, value and how well it is known, and which vessel it is of."""
    vessel = f", {m.start}" if m.name in _DIAMETERS and m.start else ""
    return f"{m.name} {value_text(m)}{vessel}"


def not_reported(refusal: Refusal) -> hd.sr.QualitativeEvaluation:
    """Return why a value is absent, as a code."""
    return hd.sr.QualitativeEvaluation(name=NOT_REPORTED, value=code_of_name(refusal.code))


def code_of_name(name: str) -> hd.sr.CodedConcept:
    """Return the private code of a stable name, e.g. ``CUTBYIMAGE``, "cut by image" of ``cut_by_image``."""
    return private_code(name.replace("_", "").upper()[:16], name.replace("_", " ")[:64])


def reason(m: Measurement) -> str:
    """Return why a value is absent as one short sentence, "" where it is present."""
    if m.refusal is None:
        return ""
    clause = re.split(r"[;(]", ascii_text(m.refusal.text), maxsplit=1)[0].strip()
    short = clause if len(clause) <= REASON_LENGTH else m.refusal.code.replace("_", " ")
    return f"{m.name} not measured: {short}"


def _pointer(image: Dataset, row: int) -> hd.sr.ImageRegion:
    """A point of the picture for the text of a refusal; row 0 is the lowest."""
    spacing_rows, spacing_columns = (float(v) for v in image.PixelSpacing)
    at = (_LEFT_MM / spacing_columns, image.Rows - (_LOWEST_MM + row * _STEP_MM) / spacing_rows)
    inside = np.clip(np.array([at]), 0.5, np.array([image.Columns, image.Rows]) - 0.5)
    source = hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    return hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POINT, inside, source)


def remarks(m: Measurement, title: str) -> list[str]:
    """Return the comments of a value: first a row's title, or the text on the picture of a refusal; the fullest last."""
    if m.refusal is not None:
        return [reason(m), m.refusal.text]
    between = f"{m.start} to {m.end}" if m.end and m.end != m.start else ""
    texts = [title, between, m.method, m.note, m.uncertainty_note, ", ".join(m.flags)]
    return [text for text in texts if text]


def encode(inputs: EncodeInput, encoded: Mapping[str, Dataset]) -> Dataset:
    """Encode the four values; a refused one is a group with its reason and without a number."""
    image = encoded["midplane.dcm"]
    values = list(inputs.result.measurements.main.values())
    refused = [m for m in reversed(values) if m.refusal is not None]
    lines = {m.name: coordinates(image, np.array(m.points_lps)) for m in values if m.points_lps}
    places = text_places(lines, (image.Rows, image.Columns), float(image.PixelSpacing[0]))
    groups = [
        _group(m, inputs, image, refused.index(m) if m in refused else 0, places.get(m.name))
        for m in values
    ]
    title = coded_concept(codes.DCM.ImagingMeasurementReport)
    content = report(groups, title, inputs)
    return document(inputs, "measurements", content, [image], SERIES_NUMBER, "measurements")
