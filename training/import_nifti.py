"""Pairs of NIfTI images and label maps on one grid, found by file name."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK

from training.errors import ImportRefused, OptionsRefused, SourceMissing
from training.importing import SAME_GRID_MM, Labelled, Pending
from training.label_table import Table
from training.manifest import sha256_of

_ENDS: Final = (".nii.gz", ".nii")
_BIDS: Final = re.compile(r"sub-([0-9A-Za-z]+)")
_CHANNEL: Final = "_0000"
"""nnU-Net's ending of the first channel; its label maps go without."""
_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of one case. name: what both are called. labels: None when there is no label map."""

    name: str
    image: Path
    labels: Path | None


def stem_of(file: Path) -> str:
    """Name without its ending and without nnU-Net's channel number."""
    end = next((e for e in _ENDS if file.name.endswith(e)), "")
    return file.name.removesuffix(end).removesuffix(_CHANNEL)


def pairs_in(images: Path, labels: Path) -> list[Pair]:
    """Images with the label map of the same name; two files are one pair whatever their names.

    Raises:
        SourceMissing: no image there, or no label map at all.
    """
    if images.is_file() and labels.is_file():
        return [Pair(stem_of(images), images, labels)]
    found, maps = _volumes(images), {stem_of(p): p for p in _volumes(labels)}
    return [Pair(stem_of(p), p, maps.get(stem_of(p))) for p in found]


def _volumes(folder: Path) -> list[Path]:
    files = folder.iterdir() if folder.is_dir() else iter([folder] if folder.is_file() else [])
    found = sorted(p for p in files if p.name.endswith(_ENDS))
    if not found:
        raise SourceMissing(f"{folder}: no .nii or .nii.gz; give the folder of the volumes")
    return found


def patients_of(file: Path) -> dict[str, str]:
    """Patient id by name of the pair, from a CSV file with the columns file and patient.

    Raises:
        OptionsRefused: unreadable, another heading, or a file that stands there twice.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionsRefused(f"{file}: {error}; give a CSV file: file,patient") from error
    out: dict[str, str] = {}
    for row in rows:
        if not {"file", "patient"} <= set(row):
            raise OptionsRefused(f"{file}: no columns file and patient in its first line")
        name = stem_of(Path(row["file"] or ""))
        if name in out:
            raise OptionsRefused(f"{file}: {name} stands there twice; one line per image")
        out[name] = (row["patient"] or "").strip()
    return out


def patient_of(name: str, patients: Mapping[str, str] | None) -> str:
    """Return the table's patient id; without a table BIDS' ``sub-…`` or the whole name."""
    if patients is not None:
        return patients.get(name, "")
    found = _BIDS.match(name)
    return found[1] if found else name


def pending(
    images: Path, labels: Path, table: Table, patients: Mapping[str, str] | None = None
) -> Iterator[Pending]:
    """Every pair of the two folders, to be read when its turn comes.

    Raises:
        SourceMissing: no pairs there.
    """
    # an unordered table would make the same import another one
    told = "\n".join(f"{key}={target.text}" for key, target in sorted(table.items()))
    for pair in pairs_in(images, labels):
        made = hashlib.sha256(told.encode())
        for file in (pair.image, pair.labels):
            made.update(sha256_of(file).encode() if file is not None else b"-")
        yield Pending(
            pair.image.name,
            patient_of(pair.name, patients),
            "",
            made.hexdigest(),
            partial(_load, pair, table),
        )


def _load(pair: Pair, table: Table) -> Labelled:
    """Read one pair.

    Raises:
        ImportRefused: unreadable, no label map, another grid, or values the table does not know.
    """
    if pair.labels is None:
        raise ImportRefused(f"rule pair: no label map is called {pair.name}; add or rename it")
    image, labels = _read(pair.image), _read(pair.labels)
    _same_grid(image, labels, pair)
    values = _values(labels, pair.labels, table)
    whole = SimpleITK.Cast(labels, SimpleITK.sitkInt32)  # type: ignore[no-untyped-call]
    masks = [
        (target, SimpleITK.Cast(whole == value, SimpleITK.sitkFloat32))  # type: ignore[no-untyped-call]
        for value, target in values.items()
        if target.structure is not None
    ]
    size, spacing = image.GetSize(), image.GetSpacing()  # type: ignore[no-untyped-call]
    told: dict[str, Any] = {"source_size_xyz": list(size)}
    told["source_spacing_xyz_mm"] = [round(v, 4) for v in spacing]
    return Labelled(SimpleITK.Cast(image, SimpleITK.sitkFloat32), masks, told)  # type: ignore[no-untyped-call]


def _read(file: Path) -> SimpleITK.Image:
    """Read a volume in LPS mm; SimpleITK turns NIfTI's RAS."""
    try:
        image = SimpleITK.ReadImage(str(file))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:160]
        raise ImportRefused(f"{file.name}: rule readable: {reason}") from error
    many = image.GetNumberOfComponentsPerPixel()  # type: ignore[no-untyped-call]
    axes = image.GetDimension()  # type: ignore[no-untyped-call]
    if axes != 3 or many != 1:
        raise ImportRefused(
            f"{file.name}: rule one-volume: {axes} axes, {many} values per voxel; give one 3-D volume"
        )
    placed = [
        image.GetMetaData(key)  # type: ignore[no-untyped-call]
        for key in ("qform_code", "sform_code")
        if image.HasMetaDataKey(key)  # type: ignore[no-untyped-call]
    ]
    if placed and all(code.strip() == "0" for code in placed):
        raise ImportRefused(
            f"{file.name}: rule orientation: qform_code and sform_code are 0, so left and right are"
            " not told; convert it again from its source"
        )
    return image


def _corners(image: SimpleITK.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    ends = [(0, n - 1) for n in image.GetSize()]  # type: ignore[no-untyped-call]
    return np.array(
        [
            image.TransformIndexToPhysicalPoint((x, y, z))  # type: ignore[no-untyped-call]
            for x in ends[0]
            for y in ends[1]
            for z in ends[2]
        ]
    )


def _same_grid(image: SimpleITK.Image, labels: SimpleITK.Image, pair: Pair) -> None:
    both = f"{pair.image.name} and {pair.labels.name if pair.labels else ''}"
    sizes = image.GetSize(), labels.GetSize()  # type: ignore[no-untyped-call]
    if sizes[0] != sizes[1]:
        raise ImportRefused(
            f"rule same-grid: {both} have {sizes[0]} and {sizes[1]} voxels; resample the labels"
        )
    apart = float(np.abs(_corners(image) - _corners(labels)).max())
    if apart > SAME_GRID_MM:
        raise ImportRefused(
            f"rule same-grid: corners of {both} lie {apart:.1f} mm apart; resample the labels"
        )


def _values(labels: SimpleITK.Image, file: Path, table: Table) -> dict[int, Any]:
    """Label value to target, for every value of the table; refuses values that it does not name."""
    found = np.unique(SimpleITK.GetArrayViewFromImage(labels))
    numbers = {int(k): t for k, t in table.items() if re.fullmatch(r"-?\d+", k)}
    odd = [v for v in found.tolist() if v != 0 and v not in numbers]  # NaN is in no table
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        shown = ", ".join(f"{v:g}" for v in odd[:_SHOWN])
        raise ImportRefused(
            f"{file.name}: rule known-labels: values {shown}{more} are not in the table; add each, as a"
            " structure or as background"
        )
    return numbers
