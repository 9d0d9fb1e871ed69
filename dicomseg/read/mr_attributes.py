"""The attributes of one data set as the fields of `dicomseg.read.instance.Instance`, classic and Enhanced MR.

Enhanced MR keeps geometry and timing in functional groups (PS3.3 C.7.6.16): the frame's own item
counts before the shared one, and the classic attribute where neither is present.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomseg.read import attributes

_MAX_FRAMES: Final = 100_000
"""More frames than any MR object holds: a hostile Number of Frames must not size anything."""


def read_mr_attributes(ds: Dataset) -> dict[str, Any]:
    """Return the fields of `dicomseg.read.instance.Instance` that need no UID."""
    return {
        "patient": _patient(ds),
        "modality": attributes.text(ds, "Modality").upper(),
        "series_description": attributes.text(ds, "SeriesDescription"),
        "protocol_name": attributes.text(ds, "ProtocolName"),
        "study_description": attributes.text(ds, "StudyDescription"),
        "series_number": attributes.integer(ds, "SeriesNumber"),
        "instance_number": attributes.integer(ds, "InstanceNumber"),
        "acquisition_number": attributes.integer(ds, "AcquisitionNumber"),
        "acquisition_date": attributes.text(ds, "AcquisitionDate"),
        "acquisition_time": attributes.text(ds, "AcquisitionTime"),
        "temporal_position": attributes.integer(ds, "TemporalPositionIdentifier"),
        "complex_component": attributes.text(ds, "ComplexImageComponent").upper(),
        "images_in_acquisition": attributes.integer(ds, "ImagesInAcquisition"),
        "image_type": attributes.codes(ds, "ImageType"),
        "manufacturer": attributes.text(ds, "Manufacturer"),
        "station_name": attributes.text(ds, "StationName"),
        "acquisition_type": attributes.text(ds, "MRAcquisitionType").upper(),
        "rows": attributes.integer(ds, "Rows"),
        "columns": attributes.integer(ds, "Columns"),
        "frames": frame_count(ds),
        "has_pixels": any(keyword in ds for keyword in attributes.PIXEL_KEYWORDS),
        **_sequence(ds),
        **_geometry(ds),
    }


def frame_count(ds: Dataset) -> int:
    """Read Number of Frames; 1 where it is empty, not a number, or more than any MR object has.

    An Enhanced object without it has as many frames as functional groups.
    """
    frames = attributes.integer(ds, "NumberOfFrames")
    if frames is None:
        frames = len(attributes.items(ds, "PerFrameFunctionalGroupsSequence")) or 1
    return frames if 1 <= frames <= _MAX_FRAMES else 1


def _patient(ds: Dataset) -> tuple[str, ...]:
    """Digests of the patient's identity; case, blanks and separators of a name make no other person."""
    groups = attributes.text(ds, "PatientName").casefold().split("=")[:3]
    names = [" ".join(group.replace("^", " ").split()) for group in groups]
    values = (
        attributes.text(ds, "PatientID").strip(),
        attributes.text(ds, "IssuerOfPatientID").strip(),
        *[*names, "", "", ""][:3],
        attributes.text(ds, "PatientBirthDate"),
    )
    return tuple(_short_digest(value) for value in values)


def _short_digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:16] if value else ""


def _group_number(ds: Dataset, frame: Dataset | None, group: str, keyword: str) -> float | None:
    for item in attributes.groups(ds, frame, group):
        value = attributes.number(item, keyword)
        if value is not None:
            return value
    return None


def _sequence(ds: Dataset) -> dict[str, Any]:
    """Sequence and timing; for Enhanced MR from the functional groups (PS3.3 C.8.13.5)."""
    frame = attributes.first_item(ds, "PerFrameFunctionalGroupsSequence")

    def timing(keyword: str, group: str, enhanced: str) -> float | None:
        value = attributes.number(ds, keyword)
        return _group_number(ds, frame, group, enhanced) if value is None else value

    train = timing("EchoTrainLength", "MRTimingAndRelatedParametersSequence", "RFEchoTrainLength")
    anatomy = next(attributes.groups(ds, frame, "FrameAnatomySequence"), None)
    region = attributes.first_item(anatomy, "AnatomicRegionSequence")
    body = attributes.text(ds, "BodyPartExamined") or (
        "" if region is None else attributes.text(region, "CodeMeaning")
    )
    return {
        "body_part": body,
        "scanning_sequence": attributes.codes(ds, "ScanningSequence")
        or _enhanced_sequence(ds, frame),
        "sequence_variant": attributes.codes(ds, "SequenceVariant"),
        "scan_options": attributes.codes(ds, "ScanOptions"),
        "sequence_name": attributes.text(ds, "SequenceName")
        or attributes.text(ds, "PulseSequenceName"),
        "repetition_time_ms": timing(
            "RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime"
        ),
        "echo_time_ms": timing("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        "inversion_time_ms": timing("InversionTime", "MRModifierSequence", "InversionTimes"),
        "flip_angle_deg": timing("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
        "echo_train_length": None if train is None else int(train),
        "echo_number": attributes.integer(ds, "EchoNumbers"),
    }


def _enhanced_sequence(ds: Dataset, frame: Dataset | None) -> tuple[str, ...]:
    """Scanning Sequence in the classic terms, from the Enhanced MR attributes (PS3.3 C.8.13.4)."""
    echo = attributes.text(ds, "EchoPulseSequence").upper()
    terms = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["GR", "SE"]}.get(echo, [])
    if attributes.text(ds, "EchoPlanarPulseSequence").upper() == "YES":
        terms = ["EP", *terms]
    inverted = any(
        attributes.text(item, "InversionRecovery").upper() == "YES"
        for item in attributes.groups(ds, frame, "MRModifierSequence")
    )
    return (*terms, "IR") if inverted else tuple(terms)


def _geometry(ds: Dataset) -> dict[str, Any]:
    per_frame = attributes.items(ds, "PerFrameFunctionalGroupsSequence")[:_MAX_FRAMES]
    plain = _plane(ds, None)
    if not per_frame:
        return plain | {"slice_thickness_mm": attributes.number(ds, "SliceThickness")}
    planes = [_plane(ds, frame) for frame in per_frame]
    positions = tuple(p["position_lps"] for p in planes)
    echoes = tuple(
        _group_number(ds, frame, "MREchoSequence", "EffectiveEchoTime") for frame in per_frame
    )
    frame_types = tuple(_frame_type(ds, frame) for frame in per_frame)
    stacks = tuple(_frame_stack(frame) for frame in per_frame)
    repetitions = tuple(_frame_repetition(frame) for frame in per_frame)
    orientations = tuple((p["row_lps"], p["column_lps"]) for p in planes)
    spacings = tuple(p["spacing_mm"] for p in planes)
    thickness = _group_number(ds, per_frame[0], "PixelMeasuresSequence", "SliceThickness")
    return planes[0] | {
        "slice_thickness_mm": thickness,
        "frame_positions_lps": positions if None not in positions else (),
        "frame_orientations_lps": _differing(orientations),
        "frame_spacings_mm": _differing(spacings),
        "frame_echo_times_ms": _differing(echoes),
        "frame_image_types": frame_types if len(set(frame_types)) > 1 else (),
        "frame_stacks": stacks if len(set(stacks)) > 1 else (),
        "frame_repetitions": repetitions if len(set(repetitions)) > 1 else (),
    }


def _frame_type(ds: Dataset, frame: Dataset) -> tuple[str, ...]:
    """Frame Type of an Enhanced MR frame (PS3.3 C.8.13.5.1), its complex component as a last value."""
    for item in attributes.groups(ds, frame, "MRImageFrameTypeSequence"):
        component = attributes.text(item, "ComplexImageComponent").upper()
        kind = attributes.codes(item, "FrameType")
        return (*kind, component) if component not in {"", "MAGNITUDE", "MIXED"} else kind
    return ()


def _frame_stack(frame: Dataset) -> str:
    content = attributes.first_item(frame, "FrameContentSequence")
    return "" if content is None else attributes.text(content, "StackID")


def _frame_repetition(frame: Dataset) -> tuple[int | None, int | None]:
    """Temporal Position Index and Frame Acquisition Number (PS3.3 C.7.6.16.2.2)."""
    content = attributes.first_item(frame, "FrameContentSequence")
    if content is None:
        return None, None
    return (
        attributes.integer(content, "TemporalPositionIndex"),
        attributes.integer(content, "FrameAcquisitionNumber"),
    )


def _differing(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values` when they are not all equal, else (): a frame without one does not take the first frame's."""
    return values if len(set(values)) > 1 else ()


def _plane(ds: Dataset, frame: Dataset | None) -> dict[str, Any]:
    def find(group: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for item in attributes.groups(ds, frame, group):
            value = attributes.numbers(item, keyword, count)
            if value is not None:
                return value
        return attributes.numbers(ds, keyword, count)

    orientation = find("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = find("PixelMeasuresSequence", "PixelSpacing", 2)
    return {
        "position_lps": find("PlanePositionSequence", "ImagePositionPatient", 3),
        "row_lps": None if orientation is None else orientation[:3],
        "column_lps": None if orientation is None else orientation[3:],
        "spacing_mm": spacing if spacing is not None and min(spacing) > 0 else None,
    }
