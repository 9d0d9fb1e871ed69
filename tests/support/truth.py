"""Stored results against the known truth of a phantom, compared in patient space."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import highdicom as hd
import numpy as np
import pydicom

from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume
from tests.support.phantoms import Truth


@dataclass
class Found:
    """Results as they came back: data sets by file name, and their bytes."""

    files: dict[str, bytes]
    sets: dict[str, pydicom.Dataset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sets = {
            n: pydicom.dcmread(BytesIO(b)) for n, b in self.files.items() if n.endswith(".dcm")
        }


def read_labels(seg: pydicom.Dataset) -> Volume:
    """Segment numbers of a stored SEG on its full grid, by highdicom."""
    read = hd.seg.Segmentation.from_dataset(seg)
    volume = read.get_volume(
        combine_segments=True, skip_overlap_checks=True, allow_missing_positions=True
    )
    return Volume(
        np.asarray(volume.array, dtype=np.uint8),
        np.asarray(volume.affine),
        str(seg.FrameOfReferenceUID),
    )


def read_lines(sr: pydicom.Dataset, image: pydicom.Dataset) -> dict[str, tuple[float, np.ndarray]]:
    """Stored value and LPS end points (2, 3) of every drawn line, by name."""
    row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.array(image.PixelSpacing, float)
    out: dict[str, tuple[float, np.ndarray]] = {}

    def walk(item: pydicom.Dataset, name: str) -> None:
        for child in item.get("ContentSequence", []):
            concept = (
                child.ConceptNameCodeSequence[0].CodeMeaning
                if "ConceptNameCodeSequence" in child
                else ""
            )
            if concept == "Tracking Identifier":
                name = child.TextValue.rsplit(":", 1)[-1]
            if child.ValueType == "NUM":
                for scoord in child.get("ContentSequence", []):
                    if scoord.ValueType == "SCOORD":
                        points = np.array(scoord.GraphicData, float).reshape(2, 2) - 0.5
                        lps = (
                            np.array(image.ImagePositionPatient, float)
                            + points[:, :1] * spacing[1] * row
                            + points[:, 1:] * spacing[0] * column
                        )
                        out[name] = (float(child.MeasuredValueSequence[0].NumericValue), lps)
            walk(child, name)

    walk(sr, "")
    return out


def differences(truth: Truth, found: Found) -> list[str]:
    """Everything in which stored results and known truth differ; empty when they agree."""
    wrong: list[str] = []
    source = pydicom.dcmread(truth.files[0], stop_before_pixels=True)
    for name, ds in found.sets.items():
        keywords = ["PatientID", "PatientName", "StudyInstanceUID"]
        keywords += ["FrameOfReferenceUID"] if name in {"seg.dcm", "midplane.dcm"} else []
        wrong += [f"{name}: {k}" for k in keywords if ds.get(k) != source.get(k)]
    return wrong + _label_differences(truth, found) + _line_differences(truth, found)


def _label_differences(truth: Truth, found: Found) -> list[str]:
    stored = read_labels(found.sets["seg.dcm"])
    wrong: list[str] = []
    value_of = np.zeros(len(SEGMENTS) + 1, np.uint8)
    value_of[1:] = [s.structure.value for s in SEGMENTS]
    index, lps = truth.near_disc
    # Empty frames are not stored: what lies outside the stored grid is background.
    at = np.round(stored.to_index(lps)).astype(int)
    inside = np.all((at >= 0) & (at < stored.shape), axis=1)
    number = np.zeros(len(at), np.uint8)
    number[inside] = stored.array[tuple(at[inside].T)]
    share = float(np.mean(value_of[number] == truth.labels.array[tuple(index.T)]))
    if share < 0.9999:
        wrong.append(f"labels: {share:.4%} of the voxels agree")
    for segment in SEGMENTS:
        points = stored.to_patient(np.argwhere(stored.array == segment.number))
        if len(points) == 0:
            wrong.append(f"labels: {segment.label} is absent")
        elif segment.side and (points[:, 0].mean() > truth.centre_lps[0]) != (
            segment.side == "left"
        ):
            wrong.append(f"labels: {segment.label} lies on the other side")
    return wrong


def _line_differences(truth: Truth, found: Found) -> list[str]:
    wrong: list[str] = []
    lines = read_lines(found.sets["measurements.dcm"], found.sets["midplane.dcm"])
    for name, true in truth.facts["measurements"].items():
        if name not in {"OC", "DAA", "DIVC", "PI"}:
            continue
        if name not in lines:
            wrong.append(f"{name}: no line")
            continue
        value, points = lines[name]
        if abs(value - true["value_mm"]) > 0.1:
            wrong.append(f"{name}: {value:.3f} mm, true are {true['value_mm']:.3f}")
        if abs(np.linalg.norm(points[1] - points[0]) - value) > 0.05:
            wrong.append(f"{name}: the stored value is not the length of the line")
        ends = np.array(true["points_lps"])
        off = min(np.abs(points - order).max() for order in (ends, ends[::-1]))
        if off > END_POINT_MM:
            wrong.append(f"{name}: end points are {off:.2f} mm off")
    return wrong


END_POINT_MM = 0.1
"""Per axis."""
