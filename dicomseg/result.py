"""`Result`: everything that is reported about one series."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from dicomseg.measurement_names import MeasurementName
from dicomseg.segmentation import EngineInfo, Finding, Level
from dicomseg.structures import Side, StructureId
from dicomseg.volume import Point


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a value is absent: a stable code and a sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelError:
    """What a model adds to the uncertainty of one measurement, found on unseen cases."""

    sd_mm: float
    """Standard deviation of automatic less reference values, of values without softness where `share` is set."""
    share: float = 0.0
    """Share of a value's softness that is added in quadrature."""

    def of(self, softness_mm: float | None) -> float:
        """Return one standard deviation in mm for a value of this softness."""
        return math.hypot(self.sd_mm, self.share * (softness_mm or 0.0))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line: its value is the distance of its two end points. It has either a value or a refusal."""

    name: str
    method: str
    side: Side | None = None
    value_mm: float | None = None
    """None exactly when `refusal` is set."""
    uncertainty_mm: float | None = None
    """One standard deviation (k = 1); `uncertainty_note` lists its parts."""
    range_mm: tuple[float, float] | None = None
    """Smallest and largest value near the plane, widened by twice the other uncertainties, instead of a standard
    deviation, where vessels merge or part, or the value is lost."""
    uncertainty_note: str = ""
    start: str = ""
    """The structure of the first end point, e.g. "left psoas major"."""
    end: str = ""
    """The structure of the second end point, e.g. "left common iliac artery"."""
    points_lps: tuple[Point, Point] | None = None
    """The two end points in LPS mm."""
    softness_mm: float | None = None
    """How far the value moves when uncertain boundaries are moved; None where that was not tried."""
    note: str = ""
    flags: tuple[str, ...] = ()
    """Codes of warnings that keep the value, e.g. "at_bifurcation"."""
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        if (self.value_mm is None) == (self.refusal is None):
            raise ValueError(f"{self.name}: a measurement has either a value or a refusal")


Unit = Literal["mm", "mm2", "deg", "ratio"]
"""Units of further values; a ratio has none."""


@dataclass(frozen=True, slots=True)
class FurtherValue:
    """A value that is not the length of a line: an area, an angle, a share, or a position with a sign.

    It has either a value or a refusal. All numbers are in its unit.
    """

    name: str
    method: str
    unit: Unit
    side: Side | None = None
    value: float | None = None
    """None exactly when `refusal` is set."""
    category: str | None = None
    """The class that the value falls into, e.g. a zone "III"; None of values without classes."""
    uncertainty: float | None = None
    """One standard deviation (k = 1); `uncertainty_note` lists its parts. None where none could be derived."""
    range: tuple[float, float] | None = None
    """Smallest and largest value instead of a standard deviation, as in `Measurement`."""
    uncertainty_note: str = ""
    softness: float | None = None
    """How far the value moves when uncertain boundaries are moved; None where that was not tried."""
    start: str = ""
    """What was measured, e.g. "left psoas major"."""
    end: str = ""
    """What its position is relative to, or what it is compared with; "" of an area."""
    points_lps: tuple[Point, ...] = ()
    """In LPS mm, as the method says: the outline of an area, end points of a position, ends of two lines of an angle."""
    note: str = ""
    flags: tuple[str, ...] = ()
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.refusal is None):
            raise ValueError(f"{self.name}: a further value has either a value or a refusal")


@dataclass(frozen=True, slots=True)
class Plane:
    """The oblique mid-disc plane: a point and unit axes in LPS; `e_left` and `e_back` span it, `normal` points to the head."""

    point_lps: Point
    normal: Point
    e_left: Point
    e_back: Point


@dataclass(frozen=True, slots=True)
class Measurements:
    """The four values, what else was measured, and the plane they lie on (None when it was not determined)."""

    plane: Plane | None
    main: dict[MeasurementName, Measurement]
    extra: dict[str, Measurement] = field(default_factory=dict)
    """Lengths beside the four."""
    findings: tuple[Finding, ...] = ()
    further: dict[str, FurtherValue] = field(default_factory=dict)
    """Areas, angles, shares and positions."""


@dataclass(frozen=True, slots=True)
class StructureResult:
    """What is known of one structure; volume in ml by voxel count."""

    present: bool
    volume_ml: float
    components: int
    touches_border: bool
    outside_view: bool
    confidence: float | None


@dataclass(frozen=True, slots=True)
class SourceSeries:
    """The series the result was made from."""

    study: str
    series: str
    frame_of_reference: str
    instances: int
    description: str
    orientation: str
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One file of the result folder."""

    file: str
    sop_class: str
    sop_instance: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FurtherFile:
    """A file of the result folder that is no DICOM object; file: path within the folder."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Result:
    """One run on one series; `created` is ISO 8601 with zone, `predecessor` the result before it."""

    result_id: str
    created: str
    source: SourceSeries
    model: EngineInfo
    level: Level
    structures: dict[StructureId, StructureResult]
    measurements: Measurements
    warnings: tuple[Finding, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)
    objects: tuple[ResultObject, ...] = ()
    files: tuple[FurtherFile, ...] = ()
    predecessor: str | None = None
