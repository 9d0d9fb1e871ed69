"""Pairs of NIfTI images and label maps on one grid, found by file name."""

from __future__ import annotations

import csv
import hashlib
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np

from dicomseg.volume import Array, Points, Volume
from training.errors import ImportRefused, SourceMissing, UsageError
from training.importing.label_table import Table, Target
from training.importing.manifest import sha256_of
from training.importing.rules import SAME_GRID_MM, Labelled, Pending, image_of

_ENDS: Final = (".nii.gz", ".nii")
_BIDS: Final = re.compile(r"sub-([0-9A-Za-z]+)")
_CHANNEL: Final = "_0000"
"""nnU-Net's ending of the first channel; its label maps go without."""
_SHOWN: Final = 12
_SMALLEST_MM3: Final = 1e-6
"""Below it an affine is singular, or in metres."""
_LPS_FROM_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_DAMAGE: Final = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
)


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
        UsageError: unreadable, another heading, or a file that stands there twice.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: {error}; give a CSV file: file,patient") from error
    out: dict[str, str] = {}
    for row in rows:
        if not {"file", "patient"} <= set(row):
            raise UsageError(f"{file}: no columns file and patient in its first line")
        name = stem_of(Path(row["file"] or ""))
        if name in out:
            raise UsageError(f"{file}: {name} stands there twice; one line per image")
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
    image, labels = volume_of(pair.image), volume_of(pair.labels)
    _same_grid(image, labels, f"{pair.image.name} and {pair.labels.name}")
    masks = [
        (target, image_of((labels.array == value).astype(np.uint8), labels.affine))
        for value, target in _values(labels.array, pair.labels, table).items()
        if target.structure is not None
    ]
    told: dict[str, Any] = {"source_shape": list(image.shape)}
    told["source_spacing_mm"] = [round(v, 4) for v in image.spacing_mm]
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        grey = image.array.astype(np.float32)
    return Labelled(image_of(grey, image.affine), masks, told)


def volume_of(file: Path) -> Volume:
    """Read a NIfTI volume, axes as stored, RAS turned into LPS.

    nibabel, because ITK reads NaN as 0, fills a truncated file with 0, and says neither.

    Raises:
        ImportRefused: damaged, not one volume, or without a place in the patient.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = nibabel.nifti1.Nifti1Image.from_filename(file)
            array = np.asanyarray(read.dataobj)
    except (OSError, ValueError, EOFError, zlib.error, *_DAMAGE) as error:
        raise ImportRefused(
            f"{file.name}: rule readable: no whole NIfTI file ({type(error).__name__}); export it again"
        ) from error
    array = array.reshape(array.shape[:3]) if array.shape[3:] == (1,) * (array.ndim - 3) else array
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise ImportRefused(
            f"{file.name}: rule one-volume: shape {array.shape} of {array.dtype}; give one 3-D volume"
        )
    header, affine = read.header, np.asarray(read.affine, dtype=float)
    if int(header["qform_code"]) == int(header["sform_code"]) == 0:
        raise ImportRefused(
            f"{file.name}: rule orientation: qform_code and sform_code are 0, so left and right are"
            " not told; convert it again from its source"
        )
    unit = header.get_xyzt_units()[0]  # type: ignore[no-untyped-call]
    if unit not in {"mm", "unknown"} or not _is_place(affine):
        raise ImportRefused(
            f"{file.name}: rule millimetres: its affine is no grid in mm; convert it again"
        )
    return Volume(array, _LPS_FROM_RAS @ affine)


def _is_place(affine: Points) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > _SMALLEST_MM3)


def _same_grid(image: Volume, labels: Volume, both: str) -> None:
    if image.shape != labels.shape:
        raise ImportRefused(
            f"rule same-grid: {both} have {image.shape} and {labels.shape} voxels; resample the labels"
        )
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in image.shape)), axis=-1)
    apart = float(np.abs(image.to_patient(corners) - labels.to_patient(corners)).max())
    if apart > SAME_GRID_MM:
        raise ImportRefused(
            f"rule same-grid: corners of {both} lie {apart:.1f} mm apart; resample the labels"
        )


def _values(labels: Array, file: Path, table: Table) -> dict[int, Target]:
    """Label value to target, for every value of the table; refuses values that it does not name."""
    numbers = {int(k): t for k, t in table.items() if re.fullmatch(r"-?\d+", k)}
    odd = [v for v in np.unique(labels).tolist() if v != 0 and v not in numbers]  # NaN is in none
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        shown = ", ".join(f"{v:g}" for v in odd[:_SHOWN])
        raise ImportRefused(
            f"{file.name}: rule known-labels: values {shown}{more} are not in the table; add each, as a"
            " structure or as background"
        )
    return numbers
