"""Series of random geometry whose voxels are all known: where they lie, which segment they are of, how grey they are.

What is known is computed here from the attributes as written, by the formula of PS3.3 C.7.6.2.1.1 and by nothing of the
package, so that a fault there is no fault here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from dicomseg.encode.context import EncodeInput, own_text
from dicomseg.encode.gather import build_result
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.read.header import read_instance
from dicomseg.read.pixels import read_source
from dicomseg.read.series import Grid, assemble
from dicomseg.result import Measurement, Measurements, Plane
from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
from dicomseg.structures import CHANNELS, SEGMENTS
from dicomseg.volume import to_point
from tests.support.scans import Scan
from tests.support.shapes import rotation

Floats = NDArray[np.float64]

SIGNED_AXES: Final = [sign * np.eye(3)[n] for n in range(3) for sign in (1.0, -1.0)]
ORIENTATIONS: Final = [
    (row, column) for row, column in permutations(SIGNED_AXES, 2) if abs(row @ column) < 0.5
]
"""The 24 directions of rows and columns: axial, sagittal and coronal, every one turned and mirrored."""
GREY_STEPS: Final = 16
"""Stored value = grey × this + segment number: the picture and its labels in the same sixteen bits."""
LOWEST: Final = 100.0
"""The grey of the first voxel."""
SPAN: Final = 3900.0
"""How much the grey rises up to the last one."""
_STEEPNESS: Final = np.array([0.5, 0.3, 0.2])
IDENTITY: Final = Identity("m", "n", "1", "1", "")
CREATED: Final = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Geometry:
    """How slices lie in the patient, and in which order they come."""

    orientation: int = 0
    tilt_deg: float = 0.0
    tilt_about: tuple[float, float, float] = (0.0, 0.0, 1.0)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Of slices, rows and columns."""
    origin_lps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shape: tuple[int, int, int] = (14, 9, 8)
    seed: int = 0
    """Of the order of files and instance numbers, of the labels, the plane and the lines."""
    multi_frame: bool = False


@st.composite
def geometries(draw: st.DrawFn, *, least_mm: float = 0.4, most_mm: float = 4.0) -> Geometry:
    """Draw any orientation tilted by up to 30°, any spacing, origin, odd and even matrices."""
    lengths = st.floats(least_mm, most_mm).map(lambda v: round(v, 4))
    spacing = draw(st.tuples(lengths, lengths, lengths))
    fewest = max(12, int(10.0 / spacing[0]) + 1)
    about = draw(st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
    origin = draw(st.tuples(*[st.floats(-300.0, 300.0)] * 3))
    sizes = draw(st.tuples(st.integers(0, 4), st.integers(7, 20), st.integers(7, 20)))
    return Geometry(
        orientation=draw(st.integers(0, len(ORIENTATIONS) - 1)),
        tilt_deg=draw(st.floats(0.0, 30.0)),
        tilt_about=about,
        spacing_mm=spacing,
        origin_lps=origin,
        shape=(fewest + sizes[0], *sizes[1:]),
        seed=draw(st.integers(0, 2**16)),
        multi_frame=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Series:
    """The slices of a geometry, in the order of their files, and what is known of every voxel."""

    geometry: Geometry

    @cached_property
    def slices(self) -> list[Dataset]:
        """Headers of classic MR images; neither files nor instance numbers in the order of their positions."""
        g = self.geometry
        row, column = ORIENTATIONS[g.orientation]
        tilted = rotation(g.tilt_deg, np.array(g.tilt_about))
        row, column = (tuple(np.round(tilted @ v, 9).tolist()) for v in (row, column))
        scan = Scan(row, column, g.origin_lps, g.spacing_mm, (1, 1, 1))
        order = np.random.default_rng([g.seed, 1])
        places, numbers = (order.permutation(g.shape[0]).tolist() for _ in range(2))
        out = []
        for place, number in zip(places, numbers, strict=True):
            first = tuple(np.round(scan.position(place), 6).tolist())
            ds = replace(scan, first_lps=first).dataset(0)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{place + 1}"
            ds.InstanceNumber = number + 1
            ds.Rows, ds.Columns = g.shape[1:]
            del ds.PixelData
            out.append(ds)
        return out

    @cached_property
    def points_lps(self) -> Floats:
        """Centres of all voxels (files, rows, columns, 3) by PS3.3 C.7.6.2.1.1."""
        return np.stack([points_of_image(ds) for ds in self.slices])

    @cached_property
    def numbers(self) -> NDArray[np.uint8]:
        """Segment numbers (files, rows, columns) at random in a random box, with all ten in it."""
        shape, rng = self.geometry.shape, np.random.default_rng([self.geometry.seed, 2])
        places = [int(str(ds.SOPInstanceUID).rsplit(".", 1)[1]) - 1 for ds in self.slices]
        low = [int(rng.integers(0, n // 3 + 1)) for n in shape]
        high = [int(rng.integers(n - n // 3, n + 1)) for n in shape]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        by_place = np.zeros(shape, np.uint8)
        inside = by_place[box]
        inside[...] = rng.integers(0, len(SEGMENTS) + 1, inside.shape)
        inside.ravel()[: len(SEGMENTS)] = np.arange(1, len(SEGMENTS) + 1)
        return by_place[places]

    @cached_property
    def axes_mm(self) -> tuple[Floats, Floats]:
        """The corner of the image in LPS mm, and the steps along slices, rows and columns (3, 3) in its rows."""
        one, spacing = self.slices[0], [float(v) for v in self.slices[0].PixelSpacing]
        row, column = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(row, column)
        corners = self.points_lps[:, 0, 0]
        along = np.sort(corners @ normal)
        step = (along[-1] - along[0]) / (len(along) - 1)
        first = corners[np.argmin(corners @ normal)]
        return first, np.stack([normal * step, column * spacing[0], row * spacing[1]])

    def index_of(self, lps: Floats) -> Floats:
        """Fractional places (n, 3) of points along slices, rows and columns."""
        first, steps = self.axes_mm
        return (lps - first) @ np.linalg.inv(steps)

    def grey_at(self, lps: Floats) -> Floats:
        """The grey of points (n, 3): a plane that rises along every axis, other than the others."""
        share = self.index_of(lps) / (np.array(self.geometry.shape) - 1)
        return np.asarray(LOWEST + SPAN * (share @ _STEEPNESS))

    @cached_property
    def stored(self) -> NDArray[np.uint16]:
        """Pixel values (files, rows, columns)."""
        grey = np.round(self.grey_at(self.points_lps.reshape(-1, 3))).reshape(self.numbers.shape)
        return (grey * GREY_STEPS).astype(np.uint16) + self.numbers

    def datasets(self) -> list[Dataset]:
        """The objects of the series, with pixels."""
        if self.geometry.multi_frame:
            return [_as_frames(self.slices, self.stored)]
        out = copy.deepcopy(self.slices)
        for ds, values in zip(out, self.stored, strict=True):
            ds.PixelData = values.tobytes()
        return out

    def write(self, folder: Path) -> list[Path]:
        """Write the files of the series."""
        paths = []
        for n, ds in enumerate(self.datasets()):
            paths.append(folder / f"{n:04d}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        return paths


def points_of_image(ds: Dataset) -> Floats:
    """Centres of the pixels of an image (rows, columns, 3) in LPS mm, by PS3.3 C.7.6.2.1.1."""
    row, column = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(v) for v in ds.PixelSpacing)
    down = np.arange(ds.Rows)[:, None, None] * (column * between_rows)
    right = np.arange(ds.Columns)[None, :, None] * (row * between_columns)
    return np.asarray(np.array(ds.ImagePositionPatient, float) + down + right)


def _as_frames(slices: Sequence[Dataset], stored: NDArray[np.uint16]) -> Dataset:
    """The slices as frames of one Enhanced MR object, in the same order."""
    ds = copy.deepcopy(slices[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.1"
    ds.NumberOfFrames = len(slices)
    shared, measures, plane, frames = Dataset(), Dataset(), Dataset(), []
    plane.ImageOrientationPatient = ds.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = ds.PixelSpacing, ds.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    for one in slices:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):  # fmt: skip
        del ds[keyword]
    ds.PixelData = stored.tobytes()
    return ds


# ---- what the encoders get of it -----------------------------------------------------------------


def encode_input(series: Series, folder: Path, key: ResultKey = ResultKey("0" * 32)) -> EncodeInput:  # noqa: B008 - frozen
    """Write the series, read it as the node does, and take the labels from its pixels."""
    return input_of(series, series.write(folder), key)


def input_of(series: Series, files: Sequence[Path], key: ResultKey) -> EncodeInput:
    """Read the files of a series as the node does, and take the labels from its pixels."""
    grid = assemble([read_instance(path) for path in files])
    assert isinstance(grid, Grid), grid
    source = read_source(grid)
    found = _segmentation(source.volume)
    measured = measurements(series)
    headers = sanitised_headers(source, own_text(IDENTITY))
    result = build_result(source, headers, found, measured, key, CREATED, {})
    return EncodeInput(result, source, found, key, headers, IDENTITY, CREATED)


def _segmentation(volume: Any) -> Segmentation:
    numbers = (volume.array % GREY_STEPS).astype(np.uint8)
    structure = np.zeros(len(SEGMENTS) + 1, np.uint8)
    structure[1:] = [s.structure.value for s in SEGMENTS]
    labels = Labels(volume.with_array(structure[numbers]), np.ones(numbers.shape, bool))
    return Segmentation(
        level=Level(to_point(volume.to_patient(np.array(numbers.shape) / 2)), (0.0, 0.0, 1.0), 1.0),
        labels=labels,
        sides=volume.with_array(numbers),
        scores=Scores(np.zeros((CHANNELS, 1, 1, 1), np.float32), np.eye(4)),
        engine=EngineInfo("phantom", "1", "0", "none", "float32"),
    )


def measurements(series: Series) -> Measurements:
    """Four lines at random places of an oblique plane through the middle of the series."""
    rng = np.random.default_rng([series.geometry.seed, 3])
    turned = rotation(float(rng.uniform(-25, 25)), rng.normal(size=3))
    middle = series.points_lps.reshape(-1, 3).mean(axis=0)
    left, back, normal = turned.T
    plane = Plane(to_point(middle), to_point(normal), to_point(left), to_point(back))
    main = {}
    for name in ("OC", "DAA", "DIVC", "PI"):
        ends = [to_point(middle + a * left + b * back) for a, b in rng.uniform(-9, 9, (2, 2))]
        main[name] = Measurement(
            name,
            "",
            value_mm=float(np.linalg.norm(np.subtract(*ends))),
            uncertainty_mm=0.3,
            points_lps=(ends[0], ends[1]),
        )
    return Measurements(plane, main)  # type: ignore[arg-type]


# ---- balls ---------------------------------------------------------------------------------------

BALL_MM: Final = 6.0
"""Radius of every ball."""
_SHELL_MM: Final = 19.0
_REACH_MM: Final = 28.0
"""From the middle of the series to the planes that end it: all balls are inside whatever its orientation."""


class Balls(Series):
    """A series with one ball per segment, at random places around its middle that no mirror image shares."""

    @cached_property
    def centres_lps(self) -> Floats:
        """Centre of the ball of every segment (10, 3)."""
        rng = np.random.default_rng([self.geometry.seed, 4])
        count = len(SEGMENTS)
        height = 1 - 2 * (np.arange(count) + 0.5) / count  # a spiral: all about as far apart
        around = np.arange(count) * np.pi * (3 - np.sqrt(5))
        flat = np.sqrt(1 - height**2)
        points = np.stack([flat * np.cos(around), flat * np.sin(around), height], axis=1)
        turned = points @ rotation(float(rng.uniform(0, 360)), rng.normal(size=3)).T
        return self.middle_lps + _SHELL_MM * rng.permutation(turned)

    @property
    def middle_lps(self) -> Floats:
        """Middle of the series."""
        return np.asarray(self.points_lps.reshape(-1, 3).mean(axis=0))

    @cached_property
    def numbers(self) -> NDArray[np.uint8]:
        """Segment numbers (files, rows, columns)."""
        out = np.zeros(self.points_lps.shape[:3], np.uint8)
        for number, centre in enumerate(self.centres_lps, start=1):
            out[np.linalg.norm(self.points_lps - centre, axis=-1) < BALL_MM] = number
        return out

    def middle_of(self, *numbers: int) -> Floats:
        """Mean of the voxels of these segments, of all without one."""
        kept = np.isin(self.numbers, numbers) if numbers else self.numbers > 0
        return np.asarray(self.points_lps[kept].mean(axis=0))

    def points_within(self, number: int, share: float, count: int = 12) -> Floats:
        """Random points (count, 3) at most a share of the radius away from the centre of a ball."""
        rng = np.random.default_rng([self.geometry.seed, 5, number])
        away = rng.normal(size=(count, 3))
        away *= (rng.uniform(0, share, count) * BALL_MM / np.linalg.norm(away, axis=1))[:, None]
        return np.asarray(self.centres_lps[number - 1] + away)

    def points_around(self, number: int, least_mm: float, count: int = 12) -> Floats:
        """Random points (count, 3) on the sphere that lies so far outside a ball."""
        rng = np.random.default_rng([self.geometry.seed, 6, number])
        away = rng.normal(size=(count, 3))
        away *= (BALL_MM + least_mm) / np.linalg.norm(away, axis=1, keepdims=True)
        return np.asarray(self.centres_lps[number - 1] + away)


def large_enough(geometry: Geometry) -> Geometry:
    """The geometry with a matrix that holds all balls."""
    shape = tuple(int(np.ceil(2 * _REACH_MM / s)) + 1 for s in geometry.spacing_mm)
    return replace(geometry, shape=shape)  # type: ignore[arg-type]
