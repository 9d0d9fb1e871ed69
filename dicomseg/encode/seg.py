"""`seg.dcm`: ten segments on the source grid (Segmentation IOD, PS3.3 A.51; as a label map A.88)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from dicomseg.encode.context import (
    EncodeInput,
    algorithm,
    carrier,
    coded_concept,
    equipment,
    make_reproducible,
    name_predecessor,
    name_series,
)
from dicomseg.encode.seg_form import Form, form_for, frames_of, leaves_gaps, pixel_data, role_of
from dicomseg.encode.seg_groups import per_frame_groups, source_images
from dicomseg.encode.uids import tracking_uid
from dicomseg.read.charset import ascii_text
from dicomseg.read.series import Grid
from dicomseg.structures import ANATOMICAL_STRUCTURE, LEFT, RIGHT, SEGMENTS, Segment
from dicomseg.volume import Array

SERIES_NUMBER = 9001
STAND_IN: Final = "2.25.1."
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


def encode(inputs: EncodeInput, form: Form | None = None) -> Dataset:
    """Encode the sides on the source grid; segments without voxels stay described.

    form: how voxels and frames are stored; the default follows from the matrix. Raises `ValueError` where the
    segmentation does not lie on the grid of its source.
    """
    sides, grid = inputs.segmentation.sides, inputs.source.grid
    if not np.allclose(sides.affine, grid.affine):
        raise ValueError("the segmentation does not lie on the grid of its source")
    form = form or form_for(*grid.shape[1:])
    corner = np.zeros((min(2, grid.shape[0]), *grid.shape[1:]), np.uint8)
    corner[:, 0, 0] = SEGMENTS[0].number
    seg = by_highdicom(inputs, form, corner)
    order = _file_order(grid)
    numbers = [s.number for s in SEGMENTS]
    frames = frames_of(sides.array, form, order, numbers)
    template = seg.PerFrameFunctionalGroupsSequence[0]
    correct_ambiguous_vr(seg, is_little_endian=True)
    seg.NumberOfFrames = len(frames)
    if "DimensionOrganizationType" in seg and leaves_gaps([n for n, _ in frames]):
        del seg.DimensionOrganizationType  # "3D" is of slices at one distance (C.7.6.17)
    seg.PixelData = pixel_data(sides.array, form, frames)
    groups = per_frame_groups(template, grid, frames, order)
    seg[groups.tag] = groups
    images = source_images(grid, "SourceImageSequence")
    seg[images.tag] = images
    instances = source_images(grid, "ReferencedInstanceSequence")
    seg.ReferencedSeriesSequence[0][instances.tag] = instances
    return seg


def by_highdicom(inputs: EncodeInput, form: Form, sides: Array) -> Dataset:
    """Return the object that highdicom makes of the first slices of the grid, with stand-ins as their images.

    sides: segment numbers (slices, rows, columns), uint8, of as many slices. `encode` takes from two slices all but
    frames, voxels and references to the source.
    """
    engine = inputs.segmentation.engine
    role = role_of(form.kind, *inputs.source.grid.shape[1:])
    seg = hd.seg.Segmentation(
        source_images=_slices(inputs, len(sides)),
        pixel_array=sides,
        segmentation_type=form.segmentation_type,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.OCCUPANCY,
        max_fractional_value=1,
        segment_descriptions=[_description(s, inputs) for s in SEGMENTS],
        series_instance_uid=inputs.key.uid(f"{role}.series"),
        series_number=SERIES_NUMBER,  # and its description: `name_series`
        sop_instance_uid=inputs.key.uid(f"{role}.instance"),
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
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=[equipment(inputs)],
        transfer_syntax_uid=form.transfer_syntax,
    )
    # OHIF lists highdicom's item of the background as a structure and jumps to the wrong ones.
    seg.SegmentSequence = [item for item in seg.SegmentSequence if item.SegmentNumber != 0]
    make_reproducible(seg, inputs, role)
    name_series(seg, inputs, SERIES_NUMBER, "segmentation")
    _name_predecessor(seg, inputs, role)
    return seg


def _name_predecessor(seg: Dataset, inputs: EncodeInput, role: str) -> None:
    """Name the segmentation of the result before, in the list of referenced series too (C.12.2)."""
    name_predecessor(seg, inputs, role)
    if inputs.predecessor is not None:
        reference, series = Dataset(), Dataset()
        reference.ReferencedSOPClassUID = seg.SOPClassUID
        reference.ReferencedSOPInstanceUID = inputs.predecessor.uid(f"{role}.instance")
        series.SeriesInstanceUID = inputs.predecessor.uid(f"{role}.series")
        series.ReferencedInstanceSequence = [reference]
        # behind the source: viewers take the first for the images that the segments lie on
        seg.ReferencedSeriesSequence.append(series)


def _file_order(grid: Grid) -> list[int]:
    """Slice numbers in the order of their frames: against the normal row × column, as highdicom has it."""
    normal = np.cross(grid.affine[:3, 2], grid.affine[:3, 1])
    forward = range(grid.shape[0])
    return list(forward if normal @ grid.affine[:3, 0] < 0 else reversed(forward))


def _slices(inputs: EncodeInput, count: int) -> list[Dataset]:
    """The first slices of the grid as classic MR images, in its order, for highdicom to take the geometry from.

    Its own geometry, not the source's: the grid is what was segmented, whatever objects its slices came in. The
    instances are stand-ins; `encode` names the true ones.
    """
    grid, acquired = inputs.source.grid, inputs.headers.acquisition
    column, row = (grid.affine[:3, n] / grid.spacing_mm[n] for n in (1, 2))
    first, slices = grid.instances[0], []
    for n in range(count):
        ds = carrier(first.study_uid, first.series_uid, MRImageStorage, f"{STAND_IN}{n}")
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
