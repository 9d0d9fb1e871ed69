"""`Instance`: the attributes of one object, as every later step sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Triplet = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Instance:
    """The attributes of one object that geometry, completeness and selection need.

    Absent or unreadable attributes are None, "" or (); nothing here is trusted input. Times are in ms. Values
    per frame are () for classic objects and, positions apart, where all frames agree.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    transfer_syntax_uid: str
    digest: str
    """sha256 of the data set's bytes without preamble and file meta information."""
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
    station_name: str = ""
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
    """Number of Frames, 1 for classic objects."""
    spacing_mm: tuple[float, float] | None = None
    """Between rows, between columns."""
    slice_thickness_mm: float | None = None
    position_lps: Triplet | None = None
    """Image Position (PS3.3 C.7.6.2.1.1)."""
    row_lps: Triplet | None = None
    """First triplet of Image Orientation: the direction along a row."""
    column_lps: Triplet | None = None
    """Second triplet of Image Orientation: the direction along a column."""
    frame_positions_lps: tuple[Triplet, ...] = ()
    """One per frame where every frame has one."""
    has_pixels: bool = False
    frame_orientations_lps: tuple[tuple[Triplet | None, Triplet | None], ...] = ()
    frame_spacings_mm: tuple[tuple[float, float] | None, ...] = ()
    frame_echo_times_ms: tuple[float | None, ...] = ()
    frame_image_types: tuple[tuple[str, ...], ...] = ()
    frame_stacks: tuple[str, ...] = ()
    frame_repetitions: tuple[tuple[int | None, int | None], ...] = ()
    """Temporal position and acquisition number of every frame."""
    pixel_digest: str = ""
    """sha256 of the pixel data's bytes, "" where it is not known."""
    patient: tuple[str, ...] = ()
    """Digests of Patient ID, issuer, the three groups of the name, and birth date, "" where absent; () when the
    instance was not read from a file. Nothing of the patient can be read from them."""
    protocol_name: str = ""
    study_description: str = ""
    acquisition_date: str = ""
    temporal_position: int | None = None
    complex_component: str = ""
