"""Phantoms of closed form: their true planes, outlines and lengths are known to 0.001 mm."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import config, dcmread
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage
from shapely.geometry import Polygon

from dicomseg.encode.context import EncodeInput, own_text
from dicomseg.encode.gather import build_result
from dicomseg.encode.rehearsal import Plan
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.measure.measure import measure
from dicomseg.read import header as headers
from dicomseg.read.pixels import Source
from dicomseg.read.series import Grid, assemble
from dicomseg.result import Measurements, Refusal
from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
from dicomseg.structures import BY_ID, CHANNELS
from dicomseg.volume import Volume

Vector = NDArray[np.float64]


def rotation(degrees: float, axis: Vector) -> Vector:
    k = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass(frozen=True)
class Tube:
    """An elliptic cylinder: centre and semi-axes in the disc's frame (left, back, up) in mm."""

    centre: tuple[float, float, float]
    semi: tuple[float, float]
    tilt_deg: float = 0.0
    turn_deg: float = 0.0
    spin_deg: float = 0.0

    @property
    def frame(self) -> Vector:
        """Rows: both axes of the section, then the axis of the cylinder."""
        lean = rotation(
            self.tilt_deg, np.array([np.cos(t := np.deg2rad(self.turn_deg)), np.sin(t), 0])
        )
        return (lean @ rotation(self.spin_deg, np.array([0.0, 0.0, 1.0]))).T

    def inside(self, points: Vector) -> Vector:
        """Zero on the surface, positive inside, about mm."""
        local = (points - np.array(self.centre)) @ self.frame[:2].T
        radius = np.sqrt(((local / np.array(self.semi)) ** 2).sum(axis=-1))
        return np.asarray((1 - radius) * min(self.semi))

    def section(self) -> tuple[Vector, Vector]:
        """Centre (a, b) on the plane, and the quadratic form of its ellipse there."""
        axis = self.frame[2]
        centre = np.array(self.centre) - axis * self.centre[2] / axis[2]
        in_plane = self.frame[:2, :2] / np.array(self.semi)[:, None]
        return centre[:2], in_plane.T @ in_plane

    def polygon(self) -> Polygon:
        """The true outline on the plane, a 6,000-gon."""
        centre, form = self.section()
        values, vectors = np.linalg.eigh(form)
        t = np.linspace(0, 2 * np.pi, 6000, endpoint=False)
        circle = np.stack([np.cos(t), np.sin(t)]) / np.sqrt(values)[:, None]
        return Polygon((vectors @ circle).T + centre)

    def diameters(self) -> tuple[float, float]:
        """Largest and least diameter on the plane."""
        low, high = np.linalg.eigvalsh(self.section()[1])
        return float(2 / np.sqrt(low)), float(2 / np.sqrt(high))


def spine() -> dict[str, tuple[Tube, ...]]:
    """One patient, asymmetric in all three axes; the disc is 10 mm high with a wedge of 8°."""
    return {
        "aa": (Tube((14.0, -29.0, 0.0), (6.5, 5.5), 18.0, 70.0, 20.0), Tube((-7.0, -32.0, 0.0), (5.5, 4.8), 15.0, 110.0)),
        "ivc": (Tube((-19.0, -24.0, 0.0), (10.5, 7.0), 10.0, 80.0, 15.0),),
        "pm": (Tube((39.5, -4.0, 0.0), (13.0, 15.5), 8.0, 80.0, 20.0), Tube((-41.0, -6.0, 0.0), (14.5, 16.5), 6.0, 100.0, -25.0)),
        "dura": (Tube((1.0, 27.0, 0.0), (8.0, 6.0), 5.0),),
    }  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """How the disc lies in the patient, and how the grid lies there."""

    disc: Vector = field(default_factory=lambda: np.eye(3))
    centre_lps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grid: Vector = field(default_factory=lambda: np.eye(3))
    order: tuple[int, int, int] = (2, 1, 0)
    flips: tuple[int, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 0.8)
    low_mm: tuple[float, float, float] = (-62.0, -48.0, -17.0)
    high_mm: tuple[float, float, float] = (62.0, 44.0, 17.0)

    def to_lps(self, local: Vector) -> Vector:
        """Points of the disc's frame (left, back, up) to LPS."""
        return np.asarray(local @ self.disc.T + np.array(self.centre_lps))


def _logits(points: Vector, tubes: Mapping[str, tuple[Tube, ...]], tau_mm: float) -> Vector:
    out = np.full((CHANNELS, *points.shape[:-1]), -30.0, dtype=np.float32)
    out[0] = 0.0
    for name, parts in tubes.items():
        out[BY_ID[name].value] = np.max([t.inside(points) for t in parts], axis=0) / tau_mm  # type: ignore[index]
    side = Tube((0.0, 0.0, 0.0), (25.0, 18.0)).inside(points)
    lean = np.tan(np.deg2rad(4.0))
    upper = (5.0 - lean * points[..., 1] - points[..., 2]) * np.cos(np.deg2rad(4.0))
    lower = (5.0 - lean * points[..., 1] + points[..., 2]) * np.cos(np.deg2rad(4.0))
    out[2] = np.minimum(side, np.minimum(upper, lower)) / tau_mm
    out[1] = np.minimum(side, -upper) / tau_mm
    out[3] = np.minimum(side, -lower) / tau_mm
    return np.asarray(np.clip(out, -30, 30))


def segmentation(
    tubes: Mapping[str, tuple[Tube, ...]], pose: Pose, tau_mm: float = 0.4, **more: Any
) -> Segmentation:
    """Smooth logits of the tubes around a disc on the pose's grid, with their label map."""
    low, high, spacing = (np.array(v) for v in (pose.low_mm, pose.high_mm, pose.spacing_mm))
    counts = np.ceil((high - low) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = pose.grid * spacing
    affine[:3, 3] = np.array(pose.centre_lps) + pose.grid @ low
    order = list(pose.order)
    affine[:3, :3] = affine[:3, order]
    shape = [int(counts[n]) for n in order]
    for axis in pose.flips:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    lps = index @ affine[:3, :3].T + affine[:3, 3]
    logits = _logits((lps - np.array(pose.centre_lps)) @ pose.disc, tubes, tau_mm)
    return answer(logits, affine, pose, **more)


def answer(logits: Vector, affine: Vector, pose: Pose, **more: Any) -> Segmentation:
    """Wrap logits as a segmentation whose labels are their largest class."""
    labels = logits.argmax(axis=0).astype(np.uint8)
    volume = Volume(labels, affine, "1.2.3")
    x = volume.to_patient(np.stack(np.indices(labels.shape), axis=-1)) - np.array(pose.centre_lps)
    sides = np.zeros_like(labels)
    sides[(labels == 7) & (x @ pose.disc[:, 0] > 0)] = 8
    sides[(labels == 7) & (x @ pose.disc[:, 0] <= 0)] = 9
    normal = pose.disc[:, 2]
    return Segmentation(
        level=Level(pose.centre_lps, (float(normal[0]), float(normal[1]), float(normal[2])), 1.0),
        labels=Labels(volume, np.ones(labels.shape, dtype=bool)),
        sides=volume.with_array(sides),
        scores=Scores(logits.astype(np.float32), affine),
        engine=EngineInfo("phantom", "1", "0", "none", "float32"),
        **more,
    )


@dataclass(frozen=True)
class Scan:
    """A tiny classic MR series: patient directions of a row and a column, spacing, first position."""

    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    first_lps: tuple[float, float, float] = (-10.0, -20.0, -30.0)
    spacing_mm: tuple[float, float, float] = (0.9, 0.7, 0.6)  # slices, rows, columns
    shape: tuple[int, int, int] = (14, 6, 5)

    @property
    def normal(self) -> Vector:
        return np.cross(self.row, self.column)

    def position(self, n: float) -> list[float]:
        return [round(float(v), 9) for v in self.first_lps + self.normal * self.spacing_mm[0] * n]

    def pixels(self) -> NDArray[np.uint16]:
        """Every voxel another value: 1 + its flat index."""
        return np.arange(1, np.prod(self.shape) + 1, dtype=np.uint16).reshape(self.shape)

    def dataset(self, n: int) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.3.4.{n + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
            "1.2.3",
            "1.2.3.4",
            "1.2.3.5",
        )
        ds.Modality, ds.InstanceNumber = "MR", n + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.PatientName, ds.PatientID, ds.StudyDate, ds.StudyTime = "A^B", "1", "20200101", "080000"
        ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyID = ""
        ds.ScanningSequence, ds.MRAcquisitionType, ds.SequenceName = "SE", "3D", "*spcR_60"
        ds.EchoTime, ds.RepetitionTime, ds.EchoTrainLength, ds.EchoNumbers = "120", "1000", 60, 1
        ds.ImageOrientationPatient = [*self.row, *self.column]
        ds.ImagePositionPatient = self.position(n)
        ds.SliceThickness = self.spacing_mm[0]
        ds.PixelSpacing = list(self.spacing_mm[1:])
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = self.shape[1:]
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 0
        ds.PixelData = self.pixels()[n].tobytes()
        return ds

    def datasets(self) -> list[Dataset]:
        return [self.dataset(n) for n in range(self.shape[0])]

    def enhanced(self) -> Dataset:
        """The same volume as one Enhanced MR object, frames in reverse order."""
        ds = self.dataset(0)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime",
                        "ScanningSequence", "EchoTrainLength", "RepetitionTime"):  # fmt: skip
            del ds[keyword]
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        ds.NumberOfFrames = self.shape[0]
        ds.EchoPulseSequence = "SPIN"
        shared, measures, plane, echo, timing = (Dataset() for _ in range(5))
        measures.PixelSpacing, measures.SliceThickness = (
            list(self.spacing_mm[1:]),
            self.spacing_mm[0],
        )
        plane.ImageOrientationPatient = [*self.row, *self.column]
        echo.EffectiveEchoTime = 130.0
        timing.RepetitionTime, timing.RFEchoTrainLength = 1500.0, 76
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
        shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = [echo], [timing]
        ds.SharedFunctionalGroupsSequence = [shared]
        frames = []
        for n in reversed(range(self.shape[0])):
            frame, position = Dataset(), Dataset()
            position.ImagePositionPatient = self.position(n)
            frame.PlanePositionSequence = [position]
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = frames
        ds.PixelData = self.pixels()[::-1].tobytes()
        return ds


SCANS = {
    "axial": Scan(),
    "axial feet first": Scan(column=(0.0, -1.0, 0.0)),
    "sagittal": Scan(row=(0.0, 1.0, 0.0), column=(0.0, 0.0, -1.0)),
    "coronal": Scan(row=(1.0, 0.0, 0.0), column=(0.0, 0.0, -1.0)),
    "oblique": Scan(row=(0.8, 0.0, -0.6), column=(0.0, 1.0, 0.0)),
}


@pytest.fixture
def scan() -> Scan:
    return Scan()


@pytest.fixture(params=sorted(SCANS))
def any_scan(request: pytest.FixtureRequest) -> Scan:
    found: Scan = SCANS[request.param]
    return found


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Sequence[Dataset]], list[Path]]:
    """Write data sets as files, in the order given."""

    def write(datasets: Sequence[Dataset]) -> list[Path]:
        paths = []
        for n, ds in enumerate(datasets):
            paths.append(tmp_path / f"{n:04d}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        return paths

    return write


@dataclass(frozen=True)
class Shapes:
    """Builders for the tests: they cannot import one another."""

    tube: type[Tube] = Tube
    pose: type[Pose] = Pose
    spine: Callable[[], dict[str, tuple[Tube, ...]]] = spine
    segmentation: Callable[..., Segmentation] = segmentation
    answer: Callable[..., Segmentation] = answer
    rotation: Callable[[float, Vector], Vector] = rotation

    def straight(self, **more: Any) -> Pose:
        """A straight disc on a coarse grid: quick, for what is refused or flagged."""
        return self.pose(**{"spacing_mm": (1.2, 1.2, 1.2)} | more)


@pytest.fixture
def shapes() -> Shapes:
    return Shapes()


# ---- results without pixels and without a network -------------------------------------------------


def raw(ds: Dataset, keyword: str, value: bytes, vr: str | None = None) -> None:
    """Put bytes as they would stand in a file, whatever pydicom thinks of them."""
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    vr = vr or dictionary_VR(tag)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def as_read(ds: Dataset) -> Dataset:
    """The data set as a reader of its file has it: nothing converted yet."""
    out = BytesIO()
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encodings = convert_encodings(ds.get("SpecificCharacterSet", "ISO_IR 6"))
        ds.set_original_encoding(
            False, True, encodings
        )  # so that raw elements are written as they are
        correct_ambiguous_vr(ds, is_little_endian=True)
        ds.save_as(out, enforce_file_format=True)
        out.seek(0)
        return dcmread(out)


@dataclass(frozen=True)
class Studio:
    """A small segmentation and the headers of the series it could come from."""

    found: Segmentation
    measured: Measurements

    def slices(self) -> list[Dataset]:
        """Headers of a classic series on the segmentation's grid, without pixels."""
        volume = self.found.sides
        spacing, (row, column) = (
            volume.spacing_mm,
            (volume.directions[:, 2], volume.directions[:, 1]),
        )
        scan = Scan(tuple(row), tuple(column), tuple(volume.affine[:3, 3]), spacing, volume.shape)
        step = volume.affine[:3, 0]
        out = []
        for n in range(volume.shape[0]):
            first = tuple(float(v) for v in np.round(volume.affine[:3, 3] + n * step, 9))
            small = replace(scan, shape=(1, 1, 1), first_lps=first)
            ds = small.dataset(0)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{n + 1}"
            ds.Rows, ds.Columns, ds.InstanceNumber = *volume.shape[1:], n + 1
            ds.SequenceVariant, ds.ReferringPhysicianName = "SK", ""
            ds.Manufacturer = "Maker"
            out.append(ds)
        return out

    def sheared(self, drift_mm: float) -> Studio:
        """The same on a grid whose slices drift along the columns by so much each."""
        affine = self.found.sides.affine.copy()
        affine[:3, 0] += self.found.sides.directions[:, 1] * drift_mm
        sides = Volume(self.found.sides.array, affine)
        labels = Labels(
            Volume(self.found.labels.volume.array, affine), self.found.labels.analysed_mask
        )
        return Studio(replace(self.found, sides=sides, labels=labels), self.measured)

    def cropped(self, rows: int, columns: int) -> Studio:
        """The same of fewer rows and columns."""
        labels, sides = self.found.labels, self.found.sides
        stop = (sides.shape[0], rows, columns)
        found = replace(
            self.found,
            sides=sides.box((0, 0, 0), stop),
            labels=Labels(
                labels.volume.box((0, 0, 0), stop), labels.analysed_mask[:, :rows, :columns]
            ),
        )
        return Studio(found, self.measured)

    def source(self, datasets: Sequence[Dataset]) -> Source:
        """The series as `load` gives it, with pixels of noise."""
        once = [
            as_read(ds) for ds in datasets
        ]  # headers and pixels are read by themselves, as in the node
        instances = [
            headers.instance_from_dataset(ds, Path(f"{n}.dcm"), str(n)) for n, ds in enumerate(once)
        ]
        read = [as_read(ds) for ds in datasets]
        grid = assemble(instances)
        assert isinstance(grid, Grid), grid
        by_uid = {str(ds.SOPInstanceUID): ds for ds in read}
        noise = np.random.default_rng(1).integers(1, 900, grid.shape, dtype=np.uint16)
        volume = Volume(noise, grid.affine, grid.frame_of_reference_uid)
        return Source(grid, tuple(by_uid[i.sop_instance_uid] for i in grid.instances), volume)

    def plan(self, datasets: Sequence[Dataset]) -> Plan:
        """What is known before the network runs."""
        source, now = self.source(datasets), datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        return Plan(
            source, sanitised_headers(source), ResultKey("0" * 32), self.found.engine, IDENTITY, now
        )

    def encode(
        self, datasets: Sequence[Dataset], *, refused: Sequence[str] = (), **more: Any
    ) -> dict[str, bytes]:
        """All files of one result; measured with the given refusals in the place of values."""
        source, identity = self.source(datasets), more.pop("identity", IDENTITY)
        cleaned = sanitised_headers(source, own_text(identity))
        main = {
            name: replace(
                m, value_mm=None, points_lps=None, refusal=Refusal("outside_image", "cut ±1 mm²")
            )
            if name in refused
            else m
            for name, m in self.measured.main.items()
        }
        key, now = ResultKey("0" * 32), datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        measured = replace(self.measured, main=main)
        result = build_result(source, cleaned, self.found, measured, key, now, {})
        return encode_all(
            EncodeInput(result, source, self.found, key, cleaned, identity, now, **more)
        )


IDENTITY = Identity("m", "n", "1", "1", "")


@pytest.fixture(scope="session")
def studio() -> Studio:
    small = Shapes().straight(low_mm=(-60.0, -45.0, -9.0), high_mm=(60.0, 40.0, 9.0))
    found = segmentation(spine(), small)
    return Studio(found, measure(found))


@pytest.fixture(scope="session")
def put_raw() -> Callable[..., None]:
    return raw
