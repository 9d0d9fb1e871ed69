"""Objects of a result in the form that a destination wants: made when they are sent, out of the result folder.

The name of a file says its form: `seg.dcm` and `volumes.dcm` are those of the result folder, `seg.labelmap.dcm` and
the `volumes.labelmap.dcm` that refers to it have UIDs of their own. So the journal's list of accepted files says which
instances a destination holds. A compressed copy is the same object under the same name.

Nothing is kept: the same result gives the same bytes again, and a kill leaves files that the next preparation removes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydicom import dcmread

from node.config.profiles import Profile
from node.deliver.port import ResultFile, read_result_file, result_files
from node.durable import private_folder
from node.errors import DamagedResult
from node.store.results import read_result

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicomseg.encode.seg_form import Kind
    from dicomseg.encode.uids import ResultKey

SEG: Final = "seg.dcm"
FORMED: Final = frozenset({SEG, "volumes.dcm"})
"""Files that differ between the forms of the segmentation: itself, and what refers to it."""
_BROKEN: Final = (AttributeError, IndexError, KeyError, ValueError)


def base_name(name: str) -> str:
    """Return the name in the result folder of a file that is sent: `seg.dcm` of `seg.labelmap.dcm`."""
    parts = name.split(".")
    return f"{parts[0]}.{parts[-1]}"


def sent_names(folder: Path, profile: Profile) -> tuple[str, ...]:
    """Return the names under which the objects of a result folder are sent."""
    if profile.seg_form == "default" or not FORMED & set(profile.objects):
        return profile.objects
    if profile.seg_form == _kind_of(folder / SEG):
        return profile.objects
    return tuple(
        f"{name.removesuffix('.dcm')}.{profile.seg_form}.dcm" if name in FORMED else name
        for name in profile.objects
    )


def prepare(
    folder: Path, names: Sequence[str], outgoing: Path, *, compress: bool = False
) -> tuple[ResultFile, ...]:
    """Return the files of a result by the names under which they are sent, in their order.

    Pictures that the result does not have are left out.

    What differs from the result folder is written below `outgoing`, whose former content is removed. compress: pixels
    are compressed, and the file names its uncompressed copy as `plain`.

    Raises:
        DamagedResult: a file is gone or damaged, or cannot be brought into that form; or nothing is left to send.
        OSError: a file cannot be read or written just now.
    """
    shutil.rmtree(outgoing, ignore_errors=True)
    bases = [base_name(name) for name in names]
    files = {file.name: file for file in result_files(folder, list(dict.fromkeys(bases)))}
    formed = [
        _formed(files[base], name, outgoing)
        for base, name in zip(bases, names, strict=True)
        if base in files
    ]
    if not formed:
        raise DamagedResult(
            f"{folder}: has none of {', '.join(names)}; `lumbar-node retry UID --force` makes the result again"
        )
    return tuple(_compressed(file, outgoing) if compress else file for file in formed)


def _formed(file: ResultFile, name: str, outgoing: Path) -> ResultFile:
    """The file in the form that the name says."""
    if file.name == name:
        return file
    from dicomseg.encode import reform  # noqa: PLC0415 - it encodes, and is seldom needed

    folder, kind = file.path.parent, _kind_in(name)
    ds = dcmread(file.path)
    try:
        uids = reform.new_uids(kind, _keys(folder))
        change = reform.convert if file.name == SEG else reform.rename
        change(ds, kind, uids)
    except _BROKEN as error:
        raise _unusable(file.path, type(error).__name__) from error
    if ds.SOPInstanceUID == file.sop_instance:
        raise _unusable(file.path, "unexpected UID")
    return _written(ds, outgoing / folder.name / name)


def _compressed(file: ResultFile, outgoing: Path) -> ResultFile:
    """A compressed copy; the file itself where it has no pixels that can be compressed."""
    from dicomseg.encode import reform  # noqa: PLC0415 - as above

    ds = dcmread(file.path)
    before = ds.file_meta.TransferSyntaxUID
    reform.compress(ds)
    if ds.file_meta.TransferSyntaxUID == before:
        return file
    path = outgoing / "compressed" / file.path.parent.name / file.name
    return replace(_written(ds, path), plain=file)


def _written(ds: Dataset, path: Path) -> ResultFile:
    from dicomseg.encode.context import to_bytes  # noqa: PLC0415 - as above

    private_folder(path.parent)
    path.write_bytes(to_bytes(ds))
    return read_result_file(path)


def _kind_in(name: str) -> Kind:
    kinds: dict[str, Kind] = {k: k for k in ("binary", "fractional", "labelmap")}
    return kinds[name.split(".")[1]]


def _kind_of(path: Path) -> str:
    """Form of a segmentation, from its file; "" where it cannot be read, which `prepare` reports."""
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SegmentationType"])
        return str(ds.SegmentationType).lower()
    except Exception:  # noqa: BLE001 - damaged bytes make pydicom raise anything
        return ""


def _keys(folder: Path) -> list[ResultKey]:
    """Identity of a result, and of its predecessor."""
    from dicomseg.encode.uids import ResultKey  # noqa: PLC0415 - as above

    before = read_result(folder).get("predecessor")
    return [ResultKey(folder.name), *([ResultKey(str(before))] if before else [])]


def _unusable(path: Path, why: str) -> DamagedResult:
    return DamagedResult(
        f"{path}: cannot be brought into another form ({why}); `lumbar-node retry UID --force` makes the result "
        'again, or set seg_form = "default"'
    )
