"""Pairs of image and label map, found by file name: NIfTI, MetaImage, NRRD, segmentations of 3D Slicer."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomseg.read.series import SAME_GRID_MM
from dicomseg.volume import Array, Volume
from training.data.prepare import to_sitk_image
from training.errors import ImportRefused, SourceMissing, UsageError
from training.importing import slicer
from training.importing.label_table import LabelTable, Target, plain_name
from training.importing.manifest import file_sha256
from training.importing.pairs import LabelledImage, PendingPair
from training.importing.volumes import ENDS, read_volume, shown, without_end

_BIDS: Final = re.compile(r"sub-([0-9A-Za-z]+)")
_CHANNEL: Final = "_0000"
"""nnU-Net's ending of the first channel; its label maps go without."""
_SHOWN: Final = 12
_LABEL_ENDING: Final = re.compile(
    r"(?:_label-[0-9A-Za-z]+)?(?:_desc-[0-9A-Za-z]+)?[_-](?:dseg|seg|mask|labels?)$", re.IGNORECASE
)
"""What the name of a label map may have beside that of its image, in BIDS and elsewhere."""
_ROUNDING: Final = 0.01
"""A label map that went through floating point is at most so far from integers."""
_MOST_LABELS: Final = 256
"""More different values make an image and no labels."""


@dataclass(frozen=True, slots=True)
class FilePair:
    """Images and label maps of one name; a case has one of each."""

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]

    def only(self) -> tuple[Path, Path]:
        """Return the image and the label map.

        Raises:
            ImportRefused: one is missing, or there are several.
        """
        for kind, files in (("image", self.images), ("label map", self.labels)):
            if not files:
                raise ImportRefused(f"rule pair: no {kind} is called {self.name}; add or rename it")
            if len(files) > 1:
                names = ", ".join(sorted(f.name for f in files))
                raise ImportRefused(f"rule pair: {names} are one name; keep one {kind}")
        return self.images[0], self.labels[0]


def pair_name(file: Path) -> str:
    """Return the name of a file without its ending and without nnU-Net's channel number, its letters composed."""
    return unicodedata.normalize("NFC", without_end(file.name)).removesuffix(_CHANNEL)


def find_pairs(images: Path, labels: Path) -> list[FilePair]:
    """Return the images with the label map of the same name; two files are one pair whatever their names.

    Names are compared without case; a label map may have a further ending such as `_dseg`. A label map without an image
    is a pair without an image.

    Raises:
        SourceMissing: no image, or no label map at all.
    """
    if images.is_file() and labels.is_file():
        return [FilePair(pair_name(images), (images,), (labels,))]
    found = _volumes(labels)
    files, maps = _by_name(_volumes(images, apart_from=found)), _by_name(found)
    for name in [n for n in maps if n not in files]:
        short = _LABEL_ENDING.sub("", name)
        if short in files and short not in maps:
            maps[short] = maps.pop(name)
    return [
        FilePair(pair_name((files.get(n) or maps[n])[0]), files.get(n, ()), maps.get(n, ()))
        for n in sorted({*files, *maps})
    ]


def _by_name(files: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Return the files of each name, as names are compared."""
    found: dict[str, tuple[Path, ...]] = {}
    for file in files:
        name = plain_name(pair_name(file))
        found[name] = (*found.get(name, ()), file)
    return found


def _volumes(folder: Path, apart_from: Sequence[Path] = ()) -> list[Path]:
    """Return the volumes of a folder, or, where it holds none itself as in BIDS, of all folders below it.

    Raises:
        SourceMissing: there is none.
    """
    files = list(folder.iterdir()) if folder.is_dir() else [folder] if folder.is_file() else []
    volumes = [p for p in files if p.name.lower().endswith(ENDS)]
    volumes = volumes or [p for p in folder.rglob("*") if p.name.lower().endswith(ENDS)]
    others = {p.resolve() for p in apart_from}
    volumes = [p for p in volumes if p.resolve() not in others]
    if not volumes:
        raise SourceMissing(
            f"{folder}: no volume ({', '.join(ENDS)}); give the folder of the volumes"
        )
    return sorted(volumes)


def read_patients(file: Path) -> dict[str, str]:
    """Return the patient id by name of the pair, as names are compared, from a table with the columns file and patient.

    Commas, semicolons, tabs or bars may part its columns; UTF-8 and UTF-16 are read, and else Windows' western letters.

    Raises:
        UsageError: unreadable, another heading, or a file that is listed twice.
    """
    try:
        text = _decoded(file.read_bytes())
        rows = list(csv.reader(text.splitlines(), delimiter=_delimiter(text)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: {error}; give a CSV file: file,patient") from error
    head = [plain_name(cell) for cell in rows[0]] if rows else []
    if not {"file", "patient"} <= set(head):
        raise UsageError(f"{file}: no columns file and patient in its first line")
    out: dict[str, str] = {}
    for row in (r for r in rows[1:] if any(cell.strip() for cell in r)):
        cells = dict(zip(head, [*row, *[""] * len(head)], strict=False))
        name = plain_name(pair_name(Path(cells["file"].strip())))
        if name in out:
            raise UsageError(f"{file}: {name} is listed twice; write one line per image")
        out[name] = cells["patient"].strip()
    return out


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _delimiter(text: str) -> str:
    """Return what parts the columns of the first line."""
    first = text.partition("\n")[0]
    return max(",;\t|", key=first.count)


def patient_id_from(name: str, patients: Mapping[str, str] | None) -> str:
    """Return the table's patient id; without a table BIDS' ``sub-…`` or the full name."""
    if patients is not None:
        return patients.get(plain_name(name), "")
    match = _BIDS.match(name)
    return match[1] if match else name


def pending(
    images: Path, labels: Path, table: LabelTable, patients: Mapping[str, str] | None = None
) -> Iterator[PendingPair]:
    """Yield every pair of the two folders, to be loaded later.

    Raises:
        SourceMissing: no pairs.
    """
    yield from pending_pairs(find_pairs(images, labels), table, patients)


def pending_pairs(
    pairs: Iterable[FilePair],
    table: LabelTable,
    patients: Mapping[str, str] | None = None,
    *,
    rule: str = "",
    load: Callable[[FilePair, LabelTable], LabelledImage] | None = None,
) -> Iterator[PendingPair]:
    """Yield these pairs, to be loaded later. rule: name of what `load` does beside reading them."""
    # sorted, so that the same table in another order is the same import
    mapping = "\n".join(f"{key}={target.text}" for key, target in sorted(table.items())) + rule
    for pair in pairs:
        digest = hashlib.sha256(mapping.encode())
        for files in (pair.images, pair.labels):
            digest.update("".join(map(file_sha256, files)).encode() or b"-")
        yield PendingPair(
            (*pair.images, *pair.labels)[0].name,
            patient_id_from(pair.name, patients),
            "",
            digest.hexdigest(),
            partial(load or load_pair, pair, table),
            named=patients is not None,
        )


def load_pair(pair: FilePair, table: LabelTable) -> LabelledImage:
    """Read one pair.

    Raises:
        ImportRefused: unreadable, no label map, another grid, or values the table does not know.
    """
    image_file, labels_file = pair.only()
    image, notes = read_volume(image_file), []
    masks = None
    if labels_file.name.lower().endswith(slicer.END):
        masks = slicer.read_segments(labels_file, table)
    if masks is None:
        labels = read_volume(labels_file)
        _check_same_grid(image, labels, (image_file, labels_file))
        values, note = _integers(labels.array, labels_file)
        notes += [note] if note else []
        masks = [
            (target, to_sitk_image((values == value).astype(np.uint8), labels.affine))
            for value, target in _targets_by_value(values, labels_file, table).items()
            if target.structure is not None or (target.is_drawn and (values == value).any())
        ]
    acquisition: dict[str, Any] = {"source_shape": list(image.shape)}
    acquisition["source_spacing_mm"] = [round(v, 4) for v in image.spacing_mm]
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        grey = image.array.astype(np.float32)
    return LabelledImage(to_sitk_image(grey, image.affine), masks, acquisition, notes=tuple(notes))


def _check_same_grid(image: Volume, labels: Volume, files: tuple[Path, Path]) -> None:
    """Refuse labels on another grid; in which order axes are stored does not matter."""
    turned = labels.oriented(image.directions)
    names = "image {} and label map {}".format(*map(shown, files))
    if image.shape != turned.shape:
        raise ImportRefused(
            f"rule same-grid: {names} have {image.shape} and {turned.shape} voxels; resample the labels"
        )
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in image.shape)), axis=-1)
    apart = float(np.abs(image.to_patient(corners) - turned.to_patient(corners)).max())
    if apart > SAME_GRID_MM:
        starts = " and ".join(
            "(" + ", ".join(f"{v:.1f}" for v in volume.affine[:3, 3]) + ")"
            for volume in (image, turned)
        )
        raise ImportRefused(
            f"rule same-grid: corners of {names} lie {apart:.1f} mm apart, their origins are {starts} (LPS);"
            " resample the labels, or correct their origin"
        )


def _integers(labels: Array, file: Path) -> tuple[Array, str]:
    """Return label values as integers, and a note where they were rounded.

    Raises:
        ImportRefused: values that are none: an image, or labels that were interpolated.
    """
    if labels.dtype.kind in "iu":
        return labels, ""
    whole = np.rint(labels)
    with np.errstate(invalid="ignore"):
        off = float(np.abs(labels - whole).max()) if labels.size else 0.0
    if not off <= _ROUNDING:
        count = len(np.unique(labels))
        raise ImportRefused(
            f"{shown(file)}: rule known-labels: {count} values, {_some(labels)}, are no label values; give the"
            " label map before it was resampled or scaled"
        )
    values = whole.astype(np.int64)
    return values, "" if off == 0 else f"label values were rounded, by {off:.2g} at most"


def _some(labels: Array) -> str:
    """Return the first values that are no integers."""
    wrong = np.unique(labels[~(np.abs(labels - np.rint(labels)) <= _ROUNDING)])
    return ", ".join(f"{v:g}" for v in wrong[:_SHOWN].tolist()) + (
        " …" if len(wrong) > _SHOWN else ""
    )


def _targets_by_value(labels: Array, file: Path, table: LabelTable) -> dict[int, Target]:
    """Return label value to target, for every value of the table; refuses values that it does not name."""
    numbers = {int(k): t for k, t in table.items() if re.fullmatch(r"-?\d+", k)}
    present = np.unique(labels).tolist()
    if len(present) > _MOST_LABELS:
        raise ImportRefused(
            f"{shown(file)}: rule known-labels: {len(present)} different values make an image, not labels;"
            " check which folder is which"
        )
    unknown = [v for v in present if v != 0 and v not in numbers]
    if unknown:
        rest = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        first = ", ".join(f"{v:g}" for v in unknown[:_SHOWN])
        raise ImportRefused(
            f"{shown(file)}: rule known-labels: values {first}{rest} are not in the table; add each, as a"
            " structure or as background"
        )
    return numbers
