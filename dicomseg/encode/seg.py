"""`seg.dcm`: ten segments on the source grid, each voxel in or out (Segmentation IOD, PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from dicomseg.encode.context import (
    RESEARCH_ONLY,
    EncodeInput,
    algorithm,
    carrier,
    coded_concept,
    equipment,
    make_reproducible,
)
from dicomseg.encode.uids import tracking_uid
from dicomseg.read.charset import ascii_text
from dicomseg.read.series import Grid
from dicomseg.structures import ANATOMICAL_STRUCTURE, LEFT, RIGHT, SEGMENTS, Segment

SERIES_NUMBER = 9001
_STAND_IN: Final = "2.25.1."
"""Stem of the instances that stand for slices while highdicom runs; none of them reaches a file."""
_LOSSY: Final = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)


def _description(segment: Segment, inputs: EncodeInput) -> hd.seg.SegmentDescription:
    structure, identification = segment.structure, algorithm(inputs)
    name = structure.id if segment.side is None else f"{structure.id}.{segment.side}"
    described = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=coded_concept(ANATOMICAL_STRUCTURE),
        segmented_property_type=coded_concept(structure.code),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=identification["name"],
            family=codes.DCM.ArtificialIntelligence,
            version=identification["version"],
            source=inputs.identity.manufacturer,
            parameters=identification["parameters"],
        ),
        tracking_id=f"lumbar-node:{name}",
        tracking_uid=tracking_uid(inputs.headers.patient_id, inputs.headers.issuer, name),
        anatomic_regions=[coded_concept(structure.region)],
        display_color=hd.color.CIELabColor.from_rgb(*structure.rgb),
    )
    if segment.side is not None:
        side = LEFT if segment.side == "left" else RIGHT
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            coded_concept(side)
        ]
    return described


def encode(inputs: EncodeInput) -> Dataset:
    """Encode the sides on the source grid; segments without voxels stay described."""
    sides, engine = inputs.segmentation.sides, inputs.segmentation.engine
    if not np.allclose(sides.affine, inputs.source.grid.affine):
        raise ValueError("the segmentation does not lie on the grid of its source")
    seg = hd.seg.Segmentation(
        source_images=_slices(inputs),
        pixel_array=np.ascontiguousarray(sides.array),
        segmentation_type=_form(*inputs.source.grid.shape[1:]),
        fractional_type=hd.seg.SegmentationFractionalTypeValues.OCCUPANCY,
        max_fractional_value=1,
        segment_descriptions=[_description(s, inputs) for s in SEGMENTS],
        series_instance_uid=inputs.key.uid("seg.series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=inputs.key.uid("seg.instance"),
        instance_number=1,
        manufacturer=inputs.identity.manufacturer,
        manufacturer_model_name=inputs.identity.model_name,
        software_versions=inputs.identity.software_version,
        device_serial_number=inputs.identity.device_serial_number,
        content_label="LUMBAR_L45",
        content_description=ascii_text(f"L4/5 structures, model {engine.name} {engine.version}")[
            :64
        ],
        content_creator_name="lumbar-node^",
        series_description=f"L4/5 segmentation ({RESEARCH_ONLY})",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=[equipment(inputs)],
        omit_empty_frames=True,
    )
    make_reproducible(seg, inputs, "seg")
    _refer(seg, inputs.source.grid)
    return seg


def _form(rows: int, columns: int) -> hd.seg.SegmentationTypeValues:
    """One bit for a voxel, or one byte where frames of bits would not end at byte boundaries.

    OHIF 3.13 reads such frames with the bits of every byte turned round: a third of the slices is wrong, or nothing is
    drawn. Bytes of 0 and 1 are read rightly everywhere; a label map would be smaller, but archives refuse its class.
    """
    fits_bytes = rows * columns % 8 == 0
    types = hd.seg.SegmentationTypeValues
    return types.BINARY if fits_bytes else types.FRACTIONAL


def _slices(inputs: EncodeInput) -> list[Dataset]:
    """Every slice of the grid as a classic MR image, in its order, for highdicom to take the geometry from.

    Its own geometry, not the source's: the grid is what was segmented, whatever objects its slices came in. The
    instances are stand-ins; `_refer` names the true ones.
    """
    grid, acquired = inputs.source.grid, inputs.headers.acquisition
    column, row = (grid.affine[:3, n] / grid.spacing_mm[n] for n in (1, 2))
    first, slices = grid.instances[0], []
    for n in range(grid.shape[0]):
        ds = carrier(first.study_uid, first.series_uid, MRImageStorage, f"{_STAND_IN}{n}")
        ds.Rows, ds.Columns = grid.shape[1:]
        ds.FrameOfReferenceUID = inputs.headers.frame_of_reference_uid
        ds.PositionReferenceIndicator = acquired.get("PositionReferenceIndicator", "")
        ds.ImagePositionPatient = _decimals(grid.affine[:3, 3] + n * grid.affine[:3, 0])
        ds.ImageOrientationPatient = _decimals((*row, *column))
        ds.PixelSpacing = _decimals(grid.spacing_mm[1:])
        ds.SpacingBetweenSlices = DSfloat(grid.spacing_mm[0], auto_format=True)
        ds.SliceThickness = _decimals([first.slice_thickness_mm or grid.spacing_mm[0]])[0]
        for keyword in _LOSSY:
            if keyword in acquired:
                ds[keyword] = acquired[keyword]
        slices.append(ds)
    return slices


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(float(v), auto_format=True) for v in values]


def _refer(seg: Dataset, grid: Grid) -> None:
    """Replace the references to stand-ins by references to the source's instances and frames."""
    for frame in seg.PerFrameFunctionalGroupsSequence:
        for item in frame.DerivationImageSequence[0].SourceImageSequence:
            stem, _, n = item.ReferencedSOPInstanceUID.rpartition(".")
            if f"{stem}." != _STAND_IN:
                continue  # segments of one slice share the item
            if grid.frame_order:
                item.ReferencedFrameNumber = grid.frame_order[int(n)] + 1
            instance = grid.instances[0 if len(grid.instances) == 1 else int(n)]
            item.ReferencedSOPClassUID = instance.sop_class_uid
            item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    references = []
    for instance in grid.instances:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        references.append(item)
    seg.SourceImageSequence = references
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
