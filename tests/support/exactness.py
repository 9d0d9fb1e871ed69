"""What stored objects say of a series whose every voxel is known: each check lists what differs, in patient space.

Objects are read by pydicom alone and, where it can, by highdicom; nothing of the package computes a place here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial import cKDTree

from dicomseg.draw.layout import HALF_PLAIN_MM, PAGE_MM, PLAIN
from dicomseg.structures import SEGMENTS, STRUCTURES
from tests.support.meshes import mesh_of, read_stl, winding
from tests.support.random_series import (
    GREY_STEPS,
    Floats,
    Series,
    measurements,
    points_of_image,
)
from tests.support.truth import read_lines

Points = tuple[Floats, NDArray[np.int64]]
"""LPS points (n, 3) and the segment number of each (n,)."""

PLACE_MM: Final = 1e-3
"""Largest distance of a voxel from its place: attributes are written with six decimals and more."""
LINE_MM: Final = 0.01
"""Largest distance of a line's end from `result.json`: coordinates are stored with 24 bits."""
MIDDLE_MM: Final = 0.2
"""Largest distance of a surface's middle from that of its voxels: less than half of the finest."""
GREY: Final = 0.5 + 0.5 * 10 / GREY_STEPS + 0.6
"""Rounding of a grey, the label in its low bits, and rounding of the picture."""


# ---- the segmentation ----------------------------------------------------------------------------


def true_points(series: Series) -> Points:
    """Labelled voxels of the series."""
    kept = series.numbers > 0
    return series.points_lps[kept], series.numbers[kept].astype(np.int64)


def points_by_pydicom(content: bytes) -> Points:
    """Labelled voxels of a stored segmentation, from the geometry of every frame."""
    ds = pydicom.dcmread(BytesIO(content))
    shared = ds.SharedFunctionalGroupsSequence[0]
    image = Dataset()
    image.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    image.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    image.Rows, image.Columns = ds.Rows, ds.Columns
    lps, numbers = [], []
    frames = ds.pixel_array.reshape(int(ds.NumberOfFrames), ds.Rows, ds.Columns)
    for values, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        image.ImagePositionPatient = groups.PlanePositionSequence[0].ImagePositionPatient
        kept = values > 0
        lps.append(points_of_image(image)[kept])
        number = values[kept].astype(np.int64)
        if "SegmentIdentificationSequence" in groups:
            number[:] = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        numbers.append(number)
    return np.concatenate(lps), np.concatenate(numbers)


def points_by_highdicom(content: bytes) -> Points:
    """The same, read by highdicom."""
    read = hd.seg.segread(BytesIO(content))
    volume = read.get_volume(combine_segments=True, allow_missing_positions=True)
    index = np.argwhere(volume.array > 0)
    return np.asarray(volume.map_indices_to_reference(index)), volume.array[tuple(index.T)].astype(
        np.int64
    )


READERS: Final = {"pydicom": points_by_pydicom, "highdicom": points_by_highdicom}


def label_differences(content: bytes, series: Series) -> list[str]:
    """Labels of a stored segmentation that are not those of a series at the same patient points."""
    return voxel_differences(content, true_points(series))


def voxel_differences(content: bytes, true: Points) -> list[str]:
    """Labels of a stored segmentation that are not the true ones at the same patient points."""
    true_lps, true_numbers = true
    wrong: list[str] = []
    for reader, read in READERS.items():
        lps, numbers = read(content)
        if len(lps) != len(true_lps):
            wrong.append(f"{reader}: {len(lps)} labelled voxels, true are {len(true_lps)}")
        away, nearest = cKDTree(true_lps).query(lps)
        if len(np.unique(nearest)) != len(lps):
            wrong.append(f"{reader}: two voxels at one place")
        if away.max() > PLACE_MM:
            wrong.append(f"{reader}: voxels are up to {away.max():.3f} mm off")
        elif (count := int((numbers != true_numbers[nearest]).sum())) > 0:
            wrong.append(f"{reader}: {count} voxels are of another segment")
    return wrong


def reference_differences(content: bytes, series: Series) -> list[str]:
    """Frames of a stored segmentation that name another image, or frame of one, than the one that they lie on."""
    ds, wrong = pydicom.dcmread(BytesIO(content)), []
    by_uid = {str(one.SOPInstanceUID): one for one in series.slices}
    indices: dict[Any, Any] = {}
    for n, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        (item,) = groups.DerivationImageSequence[0].SourceImageSequence
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        if series.geometry.multi_frame:
            image = series.slices[item.ReferencedFrameNumber - 1]
        else:
            image = by_uid[str(item.ReferencedSOPInstanceUID)]
        off = np.linalg.norm(position - np.array(image.ImagePositionPatient, float))
        if off > PLACE_MM:
            wrong.append(f"frame {n + 1} names an image {off:.3f} mm away")
        place = groups.FrameContentSequence[0].DimensionIndexValues
        place = place[-1] if isinstance(place, Sequence) else place
        if indices.setdefault(place, tuple(position)) != tuple(position):
            wrong.append(f"frame {n + 1} has the dimension index of another position")
    named = {str(i.ReferencedSOPInstanceUID) for i in ds.SourceImageSequence}
    if named != {str(one.SOPInstanceUID) for one in series.datasets()}:
        wrong.append("the images named are not those of the series")
    return wrong


# ---- the picture and its lines -------------------------------------------------------------------


def grey_differences(image: Dataset, series: Series) -> list[str]:
    """Whether the picture of the plane shows at every patient point the grey that the series has there."""
    lps = points_of_image(image).reshape(-1, 3)
    index = series.index_of(lps)
    inside = np.all((index >= 0) & (index <= np.array(series.geometry.shape) - 1), axis=1)
    if inside.sum() < 10:
        return ["the picture shows nothing of the series"]
    stored = np.frombuffer(image.PixelData, np.uint16).astype(float)
    shown = stored * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))
    true = series.grey_at(lps) + 5 / GREY_STEPS  # the label in the low bits, five on average
    off = np.abs(shown / GREY_STEPS - true)[inside].max()
    return [f"greys are up to {off:.2f} of {GREY:.2f} off"] if off > GREY else []


def view_differences(image: Dataset, series: Series) -> list[str]:
    """Whether the picture is the plane that was measured, seen from the feet: rows to the back, columns to the left."""
    row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    plane = measurements(series).plane
    assert plane is not None
    wrong = [
        f"{what} of the picture run along {np.round(found, 2)}"
        for what, found, true in (("columns", row, plane.e_left), ("rows", column, plane.e_back))
        if np.abs(found - np.array(true)).max() > 1e-6
    ]
    off = (np.array(image.ImagePositionPatient, float) - plane.point_lps) @ plane.normal
    if abs(off) > PLACE_MM:
        wrong.append(f"the picture lies {off:.3f} mm off the measured plane")
    return wrong


def line_differences(
    report: Dataset, image: Dataset, result: Mapping[str, Any], series: Series
) -> list[str]:
    """Ends and lengths of the drawn lines that are not those of `result.json`, or of the truth."""
    lines, true = read_lines(report, image), measurements(series).main
    wrong = drawn_differences(report, image, result)
    for name, (_, ends) in lines.items():
        off = np.linalg.norm(ends - np.array(true[name].points_lps), axis=1).max()  # type: ignore[index]
        if off > LINE_MM:
            wrong.append(f"{name}: ends are {off:.3f} mm from the true ones")
    return wrong


def drawn_differences(report: Dataset, image: Dataset, result: Mapping[str, Any]) -> list[str]:
    """Ends and lengths of the drawn lines that are not those of `result.json`; a refused value has none."""
    lines = read_lines(report, image)
    listed_values = {n: m for n, m in result["measurements"].items() if m["value_mm"] is not None}
    wrong = [f"{name}: drawn or listed alone" for name in lines.keys() ^ listed_values.keys()]
    for name, (value, ends) in lines.items():
        if name not in listed_values:
            continue
        listed = listed_values[name]
        off = np.linalg.norm(ends - np.array(listed["points_mm"]), axis=1).max()
        if off > LINE_MM:
            wrong.append(f"{name}: ends are {off:.3f} mm from those of result.json")
        if abs(value - np.linalg.norm(ends[1] - ends[0])) > LINE_MM:
            wrong.append(f"{name}: {value} mm is not the length of the line")
        if abs(value - listed["value_mm"]) > LINE_MM:
            wrong.append(f"{name}: {value} mm here, {listed['value_mm']} in result.json")
    drawn_on = {str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in _images(report)}
    if lines and drawn_on != {str(image.SOPInstanceUID)}:
        wrong.append("lines are drawn on another image")
    return wrong


def _images(item: Dataset) -> Iterator[Dataset]:
    """Image items below an item of a report."""
    for child in item.get("ContentSequence", []):
        if child.ValueType == "IMAGE":
            yield child
        yield from _images(child)


def volume_differences(report: Dataset, result: Mapping[str, Any], series: Series) -> list[str]:
    """Volumes of a report and of `result.json` that are not the number of voxels times the volume of one."""
    found = {}
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            items = group.get("ContentSequence", [])
            segments = [
                i for i in _images(group) if "ReferencedSegmentNumber" in i.ReferencedSOPSequence[0]
            ]
            values = [i.MeasuredValueSequence[0] for i in items if i.ValueType == "NUM"]
            for segment in segments[:1]:
                number = int(segment.ReferencedSOPSequence[0].ReferencedSegmentNumber)
                unit = values[0].MeasurementUnitsCodeSequence[0].CodeValue
                found[number] = (float(values[0].NumericValue), unit)
    voxel_mm3 = abs(np.linalg.det(series.axes_mm[1]))
    wrong = []
    for number, count in zip(
        *np.unique(series.numbers[series.numbers > 0], return_counts=True), strict=True
    ):
        value, unit = found.get(int(number), (0.0, "mm3"))
        if abs(value - count * voxel_mm3) > 0.01 + 1e-5 * value or unit != "mm3":
            wrong.append(f"segment {number}: {value} {unit}, true are {count * voxel_mm3:.2f} mm3")
    for structure in STRUCTURES:
        numbers = [n.number for n in SEGMENTS if n.structure is structure]
        true_ml = np.isin(series.numbers, numbers).sum() * voxel_mm3 / 1000
        listed = float(result["structures"][structure.id]["volume_ml"])
        if abs(listed - true_ml) > 1e-4 + 1e-5 * listed:
            wrong.append(f"{structure.id}: {listed} ml in result.json, true are {true_ml:.4f} ml")
    return wrong


def differences_by_check(files: Mapping[str, bytes], series: Series) -> dict[str, list[str]]:
    """Everything in which the files of a result and the truth differ, by the check that notices it."""
    sets = {n: pydicom.dcmread(BytesIO(b)) for n, b in files.items() if n.endswith(".dcm")}
    result = json.loads(files["result.json"])
    image, report = sets["midplane.dcm"], sets["measurements.dcm"]
    return {
        "labels": label_differences(files["seg.dcm"], series),
        "references": reference_differences(files["seg.dcm"], series),
        "greys": grey_differences(image, series),
        "view": view_differences(image, series),
        "lines": line_differences(report, image, result, series),
        "volumes": volume_differences(sets["volumes.dcm"], result, series),
    }


def result_differences(files: Mapping[str, bytes], series: Series) -> list[str]:
    """Everything in which the files of a result and the truth differ."""
    return [text for found in differences_by_check(files, series).values() for text in found]


# ---- surfaces ------------------------------------------------------------------------------------


def surface_differences(stl: bytes, inner: Floats, outer: Floats, middle: Floats) -> list[str]:
    """Points that must lie inside (outside) the surfaces of a binary STL in LPS mm and do not, and where its middle is.

    inner, outer: (n, 3). middle: mean of the voxels that the surfaces enclose.
    """
    _, corners = read_stl(stl)
    mesh, wrong = mesh_of(corners), []
    for what, points, expected in (("inside", inner, 1.0), ("outside", outer, 0.0)):
        count = int((np.abs(winding(points, mesh) - expected) > 0.05).sum())
        if count:
            wrong.append(f"{count} of {len(points)} points are not {what} of the surface")
    a, b, c = (corners[:, n].astype(np.float64) - middle for n in range(3))
    volumes = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    off = float(np.linalg.norm((volumes[:, None] * (a + b + c) / 4).sum(axis=0) / volumes.sum()))
    if off > MIDDLE_MM:
        wrong.append(f"the middle of the surface is {off:.2f} mm off")
    return wrong


# ---- the page ------------------------------------------------------------------------------------

FRONT_MM: Final = 10.0
"""The picture's middle lies so far in front of the disc's."""


def page_differences(
    rgb: NDArray[np.uint8], grey_at: Callable[[Floats], Floats], middle: Floats, axes: Floats
) -> list[str]:
    """Whether the picture without lines on a page shows what is there in the patient, and none of its mirror images.

    rgb: (rows, columns, 3) of an A4 page. grey_at: greys (n) of LPS points (n, 3), NaN outside. middle: of the disc.
    axes: left and back in the plane, in its rows (2, 3).
    """
    half_back = HALF_PLAIN_MM * PLAIN.height / PLAIN.width
    a, b = (v.ravel() for v in np.meshgrid(np.arange(-42, 43, 1.5), np.arange(-52, 33, 1.5)))
    across = (a / HALF_PLAIN_MM + 1) / 2
    down = ((b + FRONT_MM) / half_back + 1) / 2
    shown = (np.abs(across - 0.5) < 0.48) & (np.abs(down - 0.5) < 0.48)
    place_mm = np.stack([PLAIN.y + down * PLAIN.height, PLAIN.x + across * PLAIN.width])[:, shown]
    drawn = rgb[tuple((place_mm * rgb.shape[1] / PAGE_MM[0]).astype(int))].mean(axis=-1)
    plane_mm, likeness = np.stack([a, b], axis=1)[shown], []
    for signs in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        true = grey_at(middle + (plane_mm * signs) @ axes)
        known = np.isfinite(true)
        likeness.append(round(float(np.corrcoef(true[known], drawn[known])[0, 1]), 2))
    own, *mirrored = likeness
    is_own = own > max(0.7, max(mirrored) + 0.1)
    return [] if is_own else [f"likeness {own}, of mirror images {mirrored}"]
