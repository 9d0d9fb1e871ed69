"""`measurements.dcm`: OC, DAA, DIVC and PI as lines on the mid-disc image (TID 1500, TID 1501).

The form is the one that OHIF lists by name and draws: tracking identifier of its length tool, a
comment as the row's title, first NUM inferred from a two-point POLYLINE, coordinates with the pixel
centre at + 0.5 (PS3.3 C.18.6.1.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomseg.context import Run, concept, private
from dicomseg.identity import tracking_uid
from dicomseg.result import Measurement
from dicomseg.sr import Group, algorithm_id, comment, document, report
from dicomseg.structures import LEVEL_L45
from dicomseg.volume import Array

SERIES_NUMBER: Final = 9003
TOOL: Final = "Cornerstone3DTools@^0.1.0:Length"
MILLIMETRE: Final = hd.sr.CodedConcept("mm", "UCUM", "mm")
UNCERTAINTY: Final = ("UNCERTAINTY", "Standard uncertainty (k = 1)")

TITLES: Final[Mapping[str, str]] = {
    "OC": "Oblique corridor, left psoas to artery",
    "DAA": "Diameter of the artery",
    "DIVC": "Diameter of the vein",
    "PI": "Right psoas to vein",
}
_NAMES: Final = {
    "OC": (codes.DCM.Distance, codes.SCT.Minimum),
    "PI": (codes.DCM.Distance, codes.SCT.Minimum),
    "DAA": (codes.SCT.Diameter, codes.SCT.Maximum),
    "DIVC": (codes.SCT.Diameter, codes.SCT.Maximum),
}
_SIDES: Final = {"left": codes.SCT.Left, "right": codes.SCT.Right}


def coordinates(image: Dataset, points_lps: Array) -> Array:
    """SCOORD (column, row) of LPS points on an image, float32 as stored; pixel centre of the first at 0.5.

    Raises:
        ValueError: a point lies more than 0.05 mm off the image plane.
    """
    row_axis, column_axis = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    origin = np.array(image.ImagePositionPatient, float)
    spacing_rows, spacing_columns = (float(v) for v in image.PixelSpacing)
    offset = points_lps - origin
    if np.abs(offset @ np.cross(row_axis, column_axis)).max() > 0.05:
        raise ValueError("a measured point does not lie on the mid-disc image")
    found = (
        np.stack([offset @ row_axis / spacing_columns, offset @ column_axis / spacing_rows], -1)
        + 0.5
    )
    return np.asarray(found, dtype=np.float32)


def length_mm(image: Dataset, scoord: Array) -> float:
    """Length of a line between two stored coordinates, in mm."""
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
            name=concept(name),
            value=round(length_mm(image, scoord), 4),
            unit=MILLIMETRE,
            derivation=concept(derivation),
            method=private("MIDDISC", "Mid-disc plane, sub-voxel outlines"),
            referenced_coordinates=[line],
        )
    ]
    if m.uncertainty_mm is not None:
        numbers.append(
            hd.sr.Measurement(
                name=private(*UNCERTAINTY), value=round(float(m.uncertainty_mm), 3), unit=MILLIMETRE
            )
        )
    return numbers


def _group(m: Measurement, run: Run, image: Dataset) -> Group:
    uid = tracking_uid(run.headers.patient_id, run.headers.issuer, m.name)
    laterality = {} if m.side is None else {"laterality": concept(_SIDES[m.side])}
    refused = []
    if m.refusal is not None:
        refused = [
            hd.sr.QualitativeEvaluation(
                name=private("NOTREPORTED", "Measurement not reported, reason"),
                value=private(
                    m.refusal.code.replace("_", "").upper()[:16],
                    m.refusal.code.replace("_", " ")[:64],
                ),
            )
        ]
    numbers = _numbers(m, image)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=uid, identifier=f"{TOOL}:{m.name}"),
        finding_type=private(m.name, TITLES[m.name]),
        finding_sites=[hd.sr.FindingSite(concept(LEVEL_L45), **laterality)],
        algorithm_id=algorithm_id(run),
        measurements=numbers or None,
        qualitative_evaluations=refused or None,
    )
    comment(group, m.name)
    for text in _remarks(m):
        comment(group, text)
    return group


def _remarks(m: Measurement) -> list[str]:
    if m.refusal is not None:
        return [m.refusal.text]
    between = f"{m.start} to {m.end}" if m.end and m.end != m.start else m.start
    told = [
        between,
        m.method,
        m.note,
        f"u: {m.uncertainty_note}" if m.uncertainty_note else "",
        ", ".join(m.flags),
    ]
    return [t for t in told if t]


def encode(run: Run, made: Mapping[str, Dataset]) -> Dataset:
    """Encode the four values; a refused one is a group with its reason and without a number."""
    image = made["midplane.dcm"]
    groups = [_group(m, run, image) for m in run.result.measurements.main.values()]
    title = concept(codes.DCM.ImagingMeasurementReport)
    evidence = (
        [image]
        if any(m.points_lps for m in run.result.measurements.main.values())
        else [made["seg.dcm"]]
    )
    return document(
        run,
        "measurements",
        report(groups, title, run),
        evidence,
        SERIES_NUMBER,
        "L4/5 measurements",
    )
