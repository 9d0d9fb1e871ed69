"""The facts of one data set as the fields of `dicomseg.headers.Instance`, classic and Enhanced MR.

Enhanced MR keeps geometry and timing in functional groups (PS3.3 C.7.6.16): the frame's own item
counts before the shared one, and the classic attribute stands in where neither is there.
"""

from __future__ import annotations

from typing import Any, Final

from pydicom.dataset import Dataset

from dicomseg import elements

_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_MAX_FRAMES: Final = 100_000
"""More frames than any MR object holds: a hostile Number of Frames must not size anything."""


def facts(ds: Dataset) -> dict[str, Any]:
    """Return the fields of `dicomseg.headers.Instance` that need no UID."""
    frames = elements.integer(ds, "NumberOfFrames") or 1
    return {
        "modality": elements.text(ds, "Modality").upper(),
        "series_description": elements.text(ds, "SeriesDescription"),
        "series_number": elements.integer(ds, "SeriesNumber"),
        "instance_number": elements.integer(ds, "InstanceNumber"),
        "acquisition_number": elements.integer(ds, "AcquisitionNumber"),
        "acquisition_time": elements.text(ds, "AcquisitionTime"),
        "images_in_acquisition": elements.integer(ds, "ImagesInAcquisition"),
        "image_type": elements.codes(ds, "ImageType"),
        "manufacturer": elements.text(ds, "Manufacturer"),
        "acquisition_type": elements.text(ds, "MRAcquisitionType").upper(),
        "rows": elements.integer(ds, "Rows"),
        "columns": elements.integer(ds, "Columns"),
        "frames": frames if 1 <= frames <= _MAX_FRAMES else 1,
        "has_pixels": any(keyword in ds for keyword in _PIXELS),
        **_sequence(ds),
        **_geometry(ds),
    }


def _group_number(ds: Dataset, frame: Dataset | None, group: str, keyword: str) -> float | None:
    for item in elements.groups(ds, frame, group):
        value = elements.number(item, keyword)
        if value is not None:
            return value
    return None


def _sequence(ds: Dataset) -> dict[str, Any]:
    """Sequence and timing; for Enhanced MR from the functional groups (PS3.3 C.8.13.5)."""
    frame = elements.first(ds, "PerFrameFunctionalGroupsSequence")

    def timing(keyword: str, group: str, enhanced: str) -> float | None:
        value = elements.number(ds, keyword)
        return _group_number(ds, frame, group, enhanced) if value is None else value

    train = timing("EchoTrainLength", "MRTimingAndRelatedParametersSequence", "RFEchoTrainLength")
    anatomy = next(elements.groups(ds, frame, "FrameAnatomySequence"), None)
    region = elements.first(anatomy, "AnatomicRegionSequence")
    body = elements.text(ds, "BodyPartExamined") or (
        "" if region is None else elements.text(region, "CodeMeaning")
    )
    return {
        "body_part": body,
        "scanning_sequence": elements.codes(ds, "ScanningSequence")
        or _enhanced_sequence(ds, frame),
        "sequence_variant": elements.codes(ds, "SequenceVariant"),
        "scan_options": elements.codes(ds, "ScanOptions"),
        "sequence_name": elements.text(ds, "SequenceName")
        or elements.text(ds, "PulseSequenceName"),
        "repetition_time_ms": timing(
            "RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime"
        ),
        "echo_time_ms": timing("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
        "inversion_time_ms": timing("InversionTime", "MRModifierSequence", "InversionTimes"),
        "flip_angle_deg": timing("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
        "echo_train_length": None if train is None else int(train),
        "echo_number": elements.integer(ds, "EchoNumbers"),
    }


def _enhanced_sequence(ds: Dataset, frame: Dataset | None) -> tuple[str, ...]:
    """Scanning Sequence in the classic terms, from the Enhanced MR attributes (PS3.3 C.8.13.4)."""
    echo = elements.text(ds, "EchoPulseSequence").upper()
    terms = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["GR", "SE"]}.get(echo, [])
    if elements.text(ds, "EchoPlanarPulseSequence").upper() == "YES":
        terms = ["EP", *terms]
    inverted = any(
        elements.text(item, "InversionRecovery").upper() == "YES"
        for item in elements.groups(ds, frame, "MRModifierSequence")
    )
    return (*terms, "IR") if inverted else tuple(terms)


def _geometry(ds: Dataset) -> dict[str, Any]:
    per_frame = elements.items(ds, "PerFrameFunctionalGroupsSequence")[:_MAX_FRAMES]
    plain = _plane(ds, None)
    if not per_frame:
        return plain | {"slice_thickness_mm": elements.number(ds, "SliceThickness")}
    planes = [_plane(ds, frame) for frame in per_frame]
    positions = tuple(p["position_lps"] for p in planes)
    echoes = tuple(
        _group_number(ds, frame, "MREchoSequence", "EffectiveEchoTime") for frame in per_frame
    )
    orientations = tuple((p["row_lps"], p["column_lps"]) for p in planes)
    spacings = tuple(p["spacing_mm"] for p in planes)
    thickness = _group_number(ds, per_frame[0], "PixelMeasuresSequence", "SliceThickness")
    return planes[0] | {
        "slice_thickness_mm": thickness,
        "frame_positions_lps": positions if None not in positions else (),
        "frame_orientations_lps": _differing(orientations),
        "frame_spacings_mm": _differing(spacings),
        "frame_echo_times_ms": _differing(echoes),
    }


def _differing(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values` when they are all known and not all equal, else ()."""
    known = all(v is not None and v != (None, None) for v in values)
    return values if known and len(set(values)) > 1 else ()


def _plane(ds: Dataset, frame: Dataset | None) -> dict[str, Any]:
    def find(group: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for item in elements.groups(ds, frame, group):
            value = elements.numbers(item, keyword, count)
            if value is not None:
                return value
        return elements.numbers(ds, keyword, count)

    orientation = find("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = find("PixelMeasuresSequence", "PixelSpacing", 2)
    return {
        "position_lps": find("PlanePositionSequence", "ImagePositionPatient", 3),
        "row_lps": None if orientation is None else orientation[:3],
        "column_lps": None if orientation is None else orientation[3:],
        "spacing_mm": spacing if spacing is not None and min(spacing) > 0 else None,
    }
