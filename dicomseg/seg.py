"""`seg.dcm`: ten binary segments on the source grid (Segmentation IOD, PS3.3 A.51)."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomseg.context import RESEARCH_ONLY, Run, algorithm, clean, concept, equipment, freeze
from dicomseg.identity import tracking_uid
from dicomseg.structures import ANATOMICAL_STRUCTURE, LEFT, RIGHT, SEGMENTS, Segment

SERIES_NUMBER = 9001


def _description(segment: Segment, run: Run, patient: Dataset) -> hd.seg.SegmentDescription:
    structure, told = segment.structure, algorithm(run)
    name = structure.id if segment.side is None else f"{structure.id}.{segment.side}"
    described = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=concept(ANATOMICAL_STRUCTURE),
        segmented_property_type=concept(structure.code),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=told["name"],
            family=codes.DCM.ArtificialIntelligence,
            version=told["version"],
            source=run.identity.manufacturer,
            parameters=told["parameters"],
        ),
        tracking_id=f"lumbar-node:{name}",
        tracking_uid=tracking_uid(
            str(patient.get("PatientID", "")), str(patient.get("IssuerOfPatientID", "")), name
        ),
        anatomic_regions=[concept(structure.region)],
        display_color=hd.color.CIELabColor.from_rgb(*structure.rgb),
    )
    if segment.side is not None:
        side = LEFT if segment.side == "left" else RIGHT
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            concept(side)
        ]
    return described


def encode(run: Run) -> Dataset:
    """Encode the sides on the source grid; segments without voxels stay described."""
    headers = clean(run.source.datasets)
    sides = run.segmentation.sides
    volume = hd.Volume(
        np.ascontiguousarray(sides.array),
        sides.affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=run.source.grid.frame_of_reference_uid,
    )
    engine = run.segmentation.engine
    seg = hd.seg.Segmentation(
        source_images=headers,
        pixel_array=volume,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(s, run, headers[0]) for s in SEGMENTS],
        series_instance_uid=run.key.uid("seg.series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=run.key.uid("seg.instance"),
        instance_number=1,
        manufacturer=run.identity.manufacturer,
        manufacturer_model_name=run.identity.model_name,
        software_versions=run.identity.software_version,
        device_serial_number=run.identity.device_serial_number,
        content_label="LUMBAR_L45",
        content_description=f"L4/5 structures, model {engine.name} {engine.version}"[:64],
        content_creator_name="lumbar-node^",
        series_description=f"L4/5 segmentation ({RESEARCH_ONLY})",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=[equipment(run)],
        omit_empty_frames=True,
    )
    freeze(seg, run, "seg")
    return seg
