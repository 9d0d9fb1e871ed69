"""What lies in the given folders: results, DICOM files, and files that cannot be judged, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset

from dicomseg.read import attributes
from dicomseg.read.parsing import split_file_meta
from node.errors import NoSuchPath
from node.store.results import RESULT_FILE
from node.verify.report import printable

SIZE_LIMIT: Final = 1 << 30
"""Largest file that is judged (1 GiB); our largest object is a segmentation of 14 MB."""
_HEAD: Final = 1 << 16
"""Bytes in which file meta information ends."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with its objects: SOP class by file name. skipped: other files, each with its reason.

    has_result: it holds a `result.json`. damaged: objects of a result that cannot be judged, each with its reason.
    """

    path: Path
    has_result: bool
    objects: dict[str, str]
    damaged: dict[str, str]
    skipped: tuple[str, ...]


def find_folders(path: Path) -> list[Folder]:
    """Return the result folders at or below a path, and the folders of other DICOM files.

    Raises:
        NoSuchPath: it does not exist, or is no folder.
    """
    if not path.is_dir():
        raise NoSuchPath(f"{path}: no such folder; name a result folder, or one that holds some")
    found = []
    for place, subfolders, names in os.walk(path):  # follows no links
        subfolders.sort()
        folder = look_into(Path(place).absolute(), sorted(names))
        if folder.has_result:
            subfolders.clear()  # the surfaces belong to it
        if folder.has_result or folder.objects or folder.skipped:
            found.append(folder)
    return found


def look_into(path: Path, names: Sequence[str]) -> Folder:
    """Tell the objects of one folder from its other files."""
    has_result = RESULT_FILE in names and not (path / RESULT_FILE).is_symlink()
    objects: dict[str, str] = {}
    damaged: dict[str, str] = {}
    skipped: list[str] = []
    for name in names:
        if name == RESULT_FILE or name.startswith("."):
            continue
        sop_class, fault = _sop_class(path / name)
        if not fault:
            objects[name] = sop_class
        elif has_result and name.endswith(".dcm"):
            damaged[name] = fault
        else:
            skipped.append(f"{printable(str(path / name))}: {fault}")
    return Folder(path, has_result, dict(_ordered(objects)), damaged, tuple(skipped))


def _sop_class(path: Path) -> tuple[str, str]:
    """Return (SOP class, "") of a DICOM file, or ("", why it is none)."""
    if path.is_symlink():
        return "", "a link, which is not followed"
    if not path.is_file():  # a pipe would never end
        return "", "not a file"
    try:
        if path.stat().st_size > SIZE_LIMIT:
            return "", f"larger than {SIZE_LIMIT >> 30} GiB"
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return "", f"cannot be read ({error.strerror})"
    end, has_meta = split_file_meta(head)
    if not has_meta:
        return "", "not a DICOM file"
    try:
        meta = FileMetaDataset(read_dataset(BytesIO(head[132:end]), False, True))
    except Exception as error:  # noqa: BLE001 - pydicom raises what it likes on damaged bytes
        return "", f"damaged file meta information ({type(error).__name__})"
    sop_class = attributes.text(meta, "MediaStorageSOPClassUID")
    return sop_class, "" if sop_class else "damaged file meta information (no SOP class)"


_ORDER: Final = (
    "seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "summary.dcm", "report.dcm", "surface.dcm",
)  # fmt: skip
"""Objects in the order of the documents; others follow by name."""


def _ordered(objects: dict[str, str]) -> Iterator[tuple[str, str]]:
    rank = {name: n for n, name in enumerate(_ORDER)}
    yield from sorted(objects.items(), key=lambda o: (rank.get(o[0], len(rank)), o[0]))
