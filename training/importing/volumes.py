"""Read a volume from a file of the field's usual formats, LPS mm: NIfTI, MetaImage and NRRD.

NIfTI by nibabel, because ITK silently reads NaN as 0 and fills a truncated file with 0; the others by ITK, which
refuses truncated ones.
"""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import SimpleITK

from dicomseg.volume import Array, Points, Volume
from training.errors import ImportRefused

NIFTI_ENDS: Final = (".nii.gz", ".nii")
ITK_ENDS: Final = (".seg.nrrd", ".nrrd", ".mha")
ENDS: Final = (*NIFTI_ENDS, *ITK_ENDS)
"""The longest ending first where one ends with another."""
MOST_VOXELS: Final = 2**30
"""More than any series of a spine: a hostile header must not demand all memory."""
SAME_PLACE_MM: Final = 1.0
"""Farther apart, the two places that a NIfTI header may name are two."""
_SMALLEST_MM3: Final = 1e-6
"""Below it an affine is singular, or in metres."""
_LPS_FROM_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER_BYTES: Final = 65_536
_PLACED: Final = re.compile(
    rb"^(?:space directions:|(?:TransformMatrix|Orientation|Rotation)\s*=)", re.MULTILINE
)
"""What a header says that places its voxels in the patient; without it ITK takes the axes for the patient's."""
_ELSEWHERE: Final = re.compile(
    rb"^(?:data file:|datafile:|ElementDataFile\s*=\s*(?!\s|LOCAL\b))", re.MULTILINE | re.IGNORECASE
)
_DAMAGE: Final = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
)


def shown(file: Path) -> str:
    """Return a file as messages name it: image and label map often have the same name."""
    return f"{file.parent.name}/{file.name}"


def without_end(name: str) -> str:
    """Return a file's name without its ending, if it has one of ours; endings are compared without case."""
    end = next((e for e in ENDS if name.lower().endswith(e)), "")
    return name[: len(name) - len(end)] if end else name


def _refuse_too_large(shape: Sequence[int], file: Path) -> None:
    """Refuse by the header, before memory is taken: a small compressed file may unpack to any size."""
    if math.prod(int(n) for n in shape) > MOST_VOXELS:
        raise ImportRefused(
            f"{shown(file)}: rule large-enough: {tuple(shape)} voxels; a spine has less than {MOST_VOXELS}"
        )


def read_volume(file: Path) -> Volume:
    """Read one volume, axes as stored, in LPS mm.

    Raises:
        ImportRefused: damaged, not one volume, or without a place in the patient.
    """
    if file.name.lower().endswith(NIFTI_ENDS):
        return _read_nifti(file)
    image = read_itk(file)
    if image.GetNumberOfComponentsPerPixel() != 1:  # type: ignore[no-untyped-call]
        raise ImportRefused(
            f"{shown(file)}: rule one-volume: {image.GetNumberOfComponentsPerPixel()} values per voxel;"  # type: ignore[no-untyped-call]
            " give one 3-D volume"
        )
    return Volume(_xyz(SimpleITK.GetArrayFromImage(image)), itk_affine(image))


# ---- NIfTI ---------------------------------------------------------------------------------------


def _read_nifti(file: Path) -> Volume:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read: Any = nibabel.load(file)
            if not isinstance(read, nibabel.nifti1.Nifti1Image):  # which version 2 is as well
                raise TypeError(type(read).__name__)
            _refuse_too_large(read.shape, file)
            array = np.asanyarray(read.dataobj)
    except (OSError, ValueError, EOFError, zlib.error, *_DAMAGE) as error:
        raise ImportRefused(
            f"{shown(file)}: rule readable: not an intact NIfTI file ({type(error).__name__}); export it again"
        ) from error
    array = array.reshape(array.shape[:3]) if array.shape[3:] == (1,) * (array.ndim - 3) else array
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise ImportRefused(
            f"{shown(file)}: rule one-volume: shape {array.shape} of {array.dtype}; give one 3-D volume"
        )
    affine = _nifti_affine(read, array, file)
    unit = read.header.get_xyzt_units()[0]  # type: ignore[no-untyped-call]
    if unit not in {"mm", "unknown"} or not _is_grid(affine):
        raise ImportRefused(
            f"{shown(file)}: rule millimetres: its affine is not a grid in mm; convert it again"
        )
    return Volume(array, _LPS_FROM_RAS @ affine)


def _nifti_affine(read: Any, array: Array, file: Path) -> Points:
    """Return the one place that the header names, RAS mm; raises `ImportRefused` where it names none, or two."""
    (qform, qcode), (sform, scode) = read.get_qform(coded=True), read.get_sform(coded=True)
    if not qcode and not scode:
        raise ImportRefused(
            f"{shown(file)}: rule orientation: qform_code and sform_code are 0, so left and right are"
            " unknown; convert it again from its source"
        )
    if qcode and scode:
        corners = np.stack(np.meshgrid(*((0, n - 1) for n in array.shape)), axis=-1).reshape(-1, 3)
        apart = np.abs((corners @ (qform - sform)[:3, :3].T) + (qform - sform)[:3, 3]).max()
        if not apart <= SAME_PLACE_MM:
            raise ImportRefused(
                f"{shown(file)}: rule orientation: qform and sform place it {apart:.0f} mm apart, and programs"
                " differ in which they follow; keep what its reader saw"
            )
    return np.asarray(read.affine, dtype=float)


def _is_grid(affine: Points) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > _SMALLEST_MM3)


# ---- MetaImage and NRRD --------------------------------------------------------------------------


def read_itk(file: Path) -> SimpleITK.Image:
    """Read a MetaImage or NRRD file with its header; its voxels may have several values.

    Raises:
        ImportRefused: damaged, not three axes, data in another file, or without a place in the patient.
    """
    reader = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
    reader.SetFileName(str(file))  # type: ignore[no-untyped-call]
    reader.LoadPrivateTagsOn()  # type: ignore[no-untyped-call]
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES).split(b"\n\n")[0]
        if _ELSEWHERE.search(header):
            raise ImportRefused(
                f"{shown(file)}: rule readable: its voxels are in another file; save both as one"
            )
        reader.ReadImageInformation()  # type: ignore[no-untyped-call]
        size = reader.GetSize()  # type: ignore[no-untyped-call]
        if len([n for n in size if n > 1]) != 3 or (len(size) > 3 and set(size[3:]) != {1}):
            raise ImportRefused(
                f"{shown(file)}: rule one-volume: shape {size}; give one 3-D volume"
            )
        _refuse_too_large(size, file)
        if not _PLACED.search(header):
            raise ImportRefused(
                f"{shown(file)}: rule orientation: its header names no directions, so left and right are"
                " unknown; convert it again from its source"
            )
        image: SimpleITK.Image = reader.Execute()  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError) as error:
        raise ImportRefused(
            f"{shown(file)}: rule readable: not an intact file ({type(error).__name__}); export it again"
        ) from error
    return image


def itk_affine(image: SimpleITK.Image) -> Points:
    """Return the affine from index (x, y, z) to LPS mm, (4, 4)."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)  # type: ignore[no-untyped-call]
    affine[:3, :3] = direction * np.array(image.GetSpacing())  # type: ignore[no-untyped-call]
    affine[:3, 3] = image.GetOrigin()  # type: ignore[no-untyped-call]
    return affine


def _xyz(array: Array) -> Array:
    """Return an array of SimpleITK (z, y, x) with its axes as stored."""
    return np.asarray(array.transpose(2, 1, 0))
