"""Encoded objects: sources with changes, what was written read back, what validators say."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
)


def enhanced(slices: list[Dataset], *, shared: bool) -> Dataset:
    """One multi-frame object, frames from the head down; its groups shared or in every frame."""
    ds = copy.deepcopy(slices[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.NumberOfFrames = len(slices)
    frames, common = [], Dataset()
    for one in reversed(slices):
        frame, position, plane, measures = (Dataset() for _ in range(4))
        position.ImagePositionPatient = one.ImagePositionPatient
        plane.ImageOrientationPatient = one.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
        holder = common if shared else frame
        holder.PlaneOrientationSequence, holder.PixelMeasuresSequence = [plane], [measures]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [common], frames
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
    ):
        del ds[keyword]
    return ds


Change = Callable[[Dataset], None]
FILES = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


def read(files: dict[str, bytes]) -> dict[str, Dataset]:
    return {n: pydicom.dcmread(BytesIO(b)) for n, b in files.items() if n.endswith(".dcm")}


def warnings_of(files: dict[str, bytes]) -> dict[str, str]:
    return {w["code"]: w["text"] for w in json.loads(files["result.json"])["warnings"]}


def errors_of(files: dict[str, bytes], folder: Path, names: Sequence[str] = FILES) -> list[str]:
    """What dciodvfy calls an error in any of the objects, and dcentvfy between them."""
    if shutil.which("dciodvfy") is None:
        return []
    paths = []
    for name in names:
        paths.append(folder / name)
        paths[-1].write_bytes(files[name])
    errors = []
    for command in [["dciodvfy", str(p)] for p in paths] + [["dcentvfy", *map(str, paths)]]:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, errors="replace"
        )
        name = Path(command[-1]).name
        errors += [
            f"{name}: {line}"
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith("Error") or "present in one instance but not the other" in line
        ]
    return errors


def changed(studio: Any, change: Change) -> list[Dataset]:
    datasets = studio.slices()
    for ds in datasets:
        change(ds)
    return list(datasets)
