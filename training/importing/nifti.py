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
from training.importing.label_table import LabelTable, Target
from training.importing.manifest import file_sha256
from training.importing.pairs import LabelledImage, PendingPair, to_sitk_image
from training.importing.rules import SAME_GRID_MM

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
class FilePair:
    """Image and label map of one case; `name` is that of both. labels: None when there is no label map."""

    name: str
    image: Path
    labels: Path | None


def pair_name(file: Path) -> str:
    """Return the name of a file without its ending and without nnU-Net's channel number."""
    end = next((e for e in _ENDS if file.name.endswith(e)), "")
    return file.name.removesuffix(end).removesuffix(_CHANNEL)


def find_pairs(images: Path, labels: Path) -> list[FilePair]:
    """Return the images with the label map of the same name; two files are one pair whatever their names.

    Raises:
        SourceMissing: no image, or no label map at all.
    """
    if images.is_file() and labels.is_file():
        return [FilePair(pair_name(images), images, labels)]
    files, maps = _volumes(images), {pair_name(p): p for p in _volumes(labels)}
    return [FilePair(pair_name(p), p, maps.get(pair_name(p))) for p in files]


def _volumes(folder: Path) -> list[Path]:
    files = folder.iterdir() if folder.is_dir() else iter([folder] if folder.is_file() else [])
    volumes = sorted(p for p in files if p.name.endswith(_ENDS))
    if not volumes:
        raise SourceMissing(f"{folder}: no .nii or .nii.gz; give the folder of the volumes")
    return volumes


def read_patients(file: Path) -> dict[str, str]:
    """Return the patient id by name of the pair, from a CSV file with the columns file and patient.

    Raises:
        UsageError: unreadable, another heading, or a file that is listed twice.
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
        name = pair_name(Path(row["file"] or ""))
        if name in out:
            raise UsageError(f"{file}: {name} is listed twice; write one line per image")
        out[name] = (row["patient"] or "").strip()
    return out


def patient_id_from(name: str, patients: Mapping[str, str] | None) -> str:
    """Return the table's patient id; without a table BIDS' ``sub-…`` or the full name."""
    if patients is not None:
        return patients.get(name, "")
    match = _BIDS.match(name)
    return match[1] if match else name


def pending(
    images: Path, labels: Path, table: LabelTable, patients: Mapping[str, str] | None = None
) -> Iterator[PendingPair]:
    """Yield every pair of the two folders, to be loaded later.

    Raises:
        SourceMissing: no pairs.
    """
    # sorted, so that the same table in another order is the same import
    mapping = "\n".join(f"{key}={target.text}" for key, target in sorted(table.items()))
    for pair in find_pairs(images, labels):
        digest = hashlib.sha256(mapping.encode())
        for file in (pair.image, pair.labels):
            digest.update(file_sha256(file).encode() if file is not None else b"-")
        yield PendingPair(
            pair.image.name,
            patient_id_from(pair.name, patients),
            "",
            digest.hexdigest(),
            partial(_load, pair, table),
        )


def _load(pair: FilePair, table: LabelTable) -> LabelledImage:
    """Read one pair.

    Raises:
        ImportRefused: unreadable, no label map, another grid, or values the table does not know.
    """
    if pair.labels is None:
        raise ImportRefused(f"rule pair: no label map is called {pair.name}; add or rename it")
    image, labels = read_volume(pair.image), read_volume(pair.labels)
    _check_same_grid(image, labels, f"{pair.image.name} and {pair.labels.name}")
    masks = [
        (target, to_sitk_image((labels.array == value).astype(np.uint8), labels.affine))
        for value, target in _targets_by_value(labels.array, pair.labels, table).items()
        if target.structure is not None
    ]
    acquisition: dict[str, Any] = {"source_shape": list(image.shape)}
    acquisition["source_spacing_mm"] = [round(v, 4) for v in image.spacing_mm]
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        grey = image.array.astype(np.float32)
    return LabelledImage(to_sitk_image(grey, image.affine), masks, acquisition)


def read_volume(file: Path) -> Volume:
    """Read a NIfTI volume, axes as stored, RAS turned into LPS.

    nibabel, because ITK silently reads NaN as 0 and fills a truncated file with 0.

    Raises:
        ImportRefused: damaged, not one volume, or without a position in the patient.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = nibabel.nifti1.Nifti1Image.from_filename(file)
            array = np.asanyarray(read.dataobj)
    except (OSError, ValueError, EOFError, zlib.error, *_DAMAGE) as error:
        raise ImportRefused(
            f"{file.name}: rule readable: not an intact NIfTI file ({type(error).__name__}); export it again"
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
            " unknown; convert it again from its source"
        )
    unit = header.get_xyzt_units()[0]  # type: ignore[no-untyped-call]
    if unit not in {"mm", "unknown"} or not _is_grid(affine):
        raise ImportRefused(
            f"{file.name}: rule millimetres: its affine is not a grid in mm; convert it again"
        )
    return Volume(array, _LPS_FROM_RAS @ affine)


def _is_grid(affine: Points) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > _SMALLEST_MM3)


def _check_same_grid(image: Volume, labels: Volume, names: str) -> None:
    if image.shape != labels.shape:
        raise ImportRefused(
            f"rule same-grid: {names} have {image.shape} and {labels.shape} voxels; resample the labels"
        )
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in image.shape)), axis=-1)
    apart = float(np.abs(image.to_patient(corners) - labels.to_patient(corners)).max())
    if apart > SAME_GRID_MM:
        raise ImportRefused(
            f"rule same-grid: corners of {names} lie {apart:.1f} mm apart; resample the labels"
        )


def _targets_by_value(labels: Array, file: Path, table: LabelTable) -> dict[int, Target]:
    """Return label value to target, for every value of the table; refuses values that it does not name."""
    numbers = {int(k): t for k, t in table.items() if re.fullmatch(r"-?\d+", k)}
    unknown = [
        v for v in np.unique(labels).tolist() if v != 0 and v not in numbers
    ]  # NaN is in none
    if unknown:
        rest = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        shown = ", ".join(f"{v:g}" for v in unknown[:_SHOWN])
        raise ImportRefused(
            f"{file.name}: rule known-labels: values {shown}{rest} are not in the table; add each, as a"
            " structure or as background"
        )
    return numbers
