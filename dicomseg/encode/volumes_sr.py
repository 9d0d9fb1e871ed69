"""`volumes.dcm`: volume per segment, referring to `seg.dcm` (TID 1500, TID 1411).

A document of its own with its own title: a volumetric group in a report titled 126000 leaves OHIF's
viewport black. The rest of `result.json` is here too, for archives that keep no such file: refused
values, further values, how the level was determined, every warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomseg.encode.context import EncodeInput, coded_concept, private_code
from dicomseg.encode.further_sr import further_groups, level_group, warning_groups
from dicomseg.encode.measurements_sr import (
    NOT_REPORTED,
    finding_site,
    not_reported,
    reason,
    tracking,
)
from dicomseg.encode.sr import Group, algorithm_id, comment, document, report
from dicomseg.encode.uids import tracking_uid
from dicomseg.measurement_names import TITLES
from dicomseg.result import Measurement
from dicomseg.structures import LEFT, RIGHT, SEGMENTS, Segment

SERIES_NUMBER: Final = 9004
CUBIC_MILLIMETRE: Final = hd.sr.CodedConcept("mm3", "UCUM", "cubic millimeter")


def _group(segment: Segment, volume_mm3: float, inputs: EncodeInput, seg: Dataset) -> Group:
    structure = segment.structure
    name = structure.id if segment.side is None else f"{structure.id}.{segment.side}"
    identifier = hd.sr.TrackingIdentifier(
        uid=tracking_uid(inputs.headers.patient_id, inputs.headers.issuer, name),
        identifier=f"lumbar-node:{name}",
    )
    if volume_mm3 == 0.0:
        return _absent(segment, identifier, inputs)
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier,
        referenced_segment=_segment_reference(segment, inputs, seg),
        finding_type=coded_concept(structure.code),
        finding_sites=[_site(segment)],
        algorithm_id=algorithm_id(inputs),
        measurements=[
            hd.sr.Measurement(
                name=coded_concept(codes.SCT.Volume),
                value=round(volume_mm3, 2),
                unit=CUBIC_MILLIMETRE,
                method=private_code("VOXELCOUNT", "Number of voxels times voxel volume"),
            )
        ],
    )
    comment(group, segment.label)
    if structure.id in inputs.segmentation.outside_view:
        comment(group, "extends beyond the image; volume is of the imaged part only")
    return group


def _absent(segment: Segment, identifier: hd.sr.TrackingIdentifier, inputs: EncodeInput) -> Group:
    """A segment without voxels, with its reason."""
    outside = segment.structure.id in inputs.segmentation.outside_view
    why = ("OUTSIDEIMAGE", "outside the image") if outside else ("NOTFOUND", "not found")
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier,
        finding_type=coded_concept(segment.structure.code),
        finding_sites=[_site(segment)],
        algorithm_id=algorithm_id(inputs),
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(NOT_REPORTED, private_code(*why))],
    )
    comment(group, f"{segment.label}: {why[1]}")
    return group


def _site(segment: Segment) -> hd.sr.FindingSite:
    region = coded_concept(segment.structure.region)
    if segment.side is None:
        return hd.sr.FindingSite(region)
    side = coded_concept(LEFT if segment.side == "left" else RIGHT)
    return hd.sr.FindingSite(region, laterality=side)


def _segment_reference(
    segment: Segment, inputs: EncodeInput, seg: Dataset
) -> hd.sr.ReferencedSegment:
    series = inputs.source.grid.instances[0].series_uid
    return hd.sr.ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=segment.number,
        source_series=hd.sr.SourceSeriesForSegmentation(series),
    )


def _refused(m: Measurement, inputs: EncodeInput) -> Group:
    """A measurement that has no value, with its reason."""
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(m, inputs, "lumbar-node"),
        finding_type=private_code(m.name, TITLES[m.name]),
        finding_sites=[finding_site(m)],
        algorithm_id=algorithm_id(inputs),
        qualitative_evaluations=None if m.refusal is None else [not_reported(m.refusal)],
    )
    comment(group, reason(m))
    comment(group, "" if m.refusal is None else m.refusal.text)
    return group


def encode(inputs: EncodeInput, encoded: Mapping[str, Dataset]) -> Dataset:
    """Encode the volume of all ten segments by voxel count, absent ones with their reason, and the rest of a result."""
    sides = inputs.segmentation.sides
    labelled = sides.array[sides.array > 0]
    counts = np.bincount(labelled, minlength=len(SEGMENTS) + 1)
    voxel_mm3 = sides.voxel_ml * 1000.0
    groups = [
        _group(s, float(counts[s.number]) * voxel_mm3, inputs, encoded["seg.dcm"]) for s in SEGMENTS
    ]
    groups += [_refused(m, inputs) for m in inputs.result.measurements.main.values() if m.refusal]
    groups += [level_group(inputs), *further_groups(inputs), *warning_groups(inputs)]
    title = private_code("VOLUMEREPORT", "L4/5 Volume Report")
    return document(
        inputs,
        "volumes",
        report(groups, title, inputs),
        [encoded["seg.dcm"]],
        SERIES_NUMBER,
        "volumes",
    )
