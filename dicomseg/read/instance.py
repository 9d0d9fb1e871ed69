"""`Instance`: the attributes of one object, as every later step sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Triplet = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Instance:
    """The attributes of one object that geometry, completeness and selection need.

    Absent or unreadable attributes are None or (); nothing here is trusted input. Times in ms.
    position_lps, row_lps, column_lps: Image Position and the two triplets of Image Orientation
    (PS3.3 C.7.6.2.1.1). spacing_mm: (between rows, between columns).
    frames: Number of Frames, 1 for classic objects. frame_positions_lps: one per frame for
    multi-frame objects with per-frame plane positions, else (). frame_orientations_lps,
    frame_spacings_mm, frame_echo_times_ms, frame_image_types, frame_stacks, frame_repetitions (temporal
    position, acquisition number): one per frame where the frames differ, else ().
    digest: sha256 of the data set's bytes without preamble and file meta information. pixel_digest:
    sha256 of the pixel data's bytes, "" where it is not known.
    patient: digests of Patient ID, issuer, the three groups of the name, and birth date, "" where
    absent; () when the instance was not read from a file. Nothing of the patient can be read from them.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    transfer_syntax_uid: str
    digest: str
    modality: str = ""
    series_description: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    acquisition_time: str = ""
    images_in_acquisition: int | None = None
    image_type: tuple[str, ...] = ()
    body_part: str = ""
    manufacturer: str = ""
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    scan_options: tuple[str, ...] = ()
    acquisition_type: str = ""
    sequence_name: str = ""
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_train_length: int | None = None
    echo_number: int | None = None
    rows: int | None = None
    columns: int | None = None
    frames: int = 1
    spacing_mm: tuple[float, float] | None = None
    slice_thickness_mm: float | None = None
    position_lps: tuple[float, float, float] | None = None
    row_lps: tuple[float, float, float] | None = None
    column_lps: tuple[float, float, float] | None = None
    frame_positions_lps: tuple[tuple[float, float, float], ...] = ()
    has_pixels: bool = False
    frame_orientations_lps: tuple[tuple[Triplet | None, Triplet | None], ...] = ()
    frame_spacings_mm: tuple[tuple[float, float] | None, ...] = ()
    frame_echo_times_ms: tuple[float | None, ...] = ()
    frame_image_types: tuple[tuple[str, ...], ...] = ()
    frame_stacks: tuple[str, ...] = ()
    frame_repetitions: tuple[tuple[int | None, int | None], ...] = ()
    pixel_digest: str = ""
    patient: tuple[str, ...] = ()
    protocol_name: str = ""
    study_description: str = ""
    acquisition_date: str = ""
    temporal_position: int | None = None
    complex_component: str = ""
