"""MR series with DICOM SEG objects from a folder."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.errors import InputRefused, Unreadable
from dicomseg.read import attributes, pixels
from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.predicates import MR_CLASSES
from dicomseg.read.segments import SEG_CLASSES
from dicomseg.read.series import assemble, why_too_small
from training.data.prepare import to_sitk_image
from training.errors import ImportRefused, SourceMissing
from training.importing import corrections
from training.importing import seg as import_seg
from training.importing.label_table import LabelTable, Target
from training.importing.pairs import LabelledImage, Mask, PendingPair

CONTOURS: Final = "1.2.840.10008.5.1.4.1.1.481.3"
"""SOP class of RT Structure Sets."""
_CONVERT: Final = (
    "rule labels: an RTSTRUCT holds contours, which are not imported; convert it to a SEG or .nrrd with 3D Slicer or"
    " plastimatch"
)


@dataclass(frozen=True, slots=True)
class FolderContent:
    """MR images, SEG objects and files of a folder that cannot be imported."""

    series: Mapping[str, tuple[Instance, ...]]
    """MR images by series UID."""
    segs: tuple[Instance, ...]
    damaged: tuple[tuple[str, str], ...]
    """Name and reason of each file that cannot be imported."""


def read_folder(folder: Path) -> FolderContent:
    """Read every header below a folder; files that are not DICOM are passed over.

    Raises:
        SourceMissing: there is no such folder or no SEG in it.
    """
    series: dict[str, dict[str, Instance]] = defaultdict(dict)
    segs: dict[str, Instance] = {}
    damaged = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "DICOMDIR"):
        try:
            instance = headers.read_instance(file)
        except Unreadable as refusal:
            if _is_dicom(file):
                reason = _CONVERT if _holds_contours(file) else str(refusal)
                damaged.append((file.relative_to(folder).as_posix(), reason))
            continue
        if instance.sop_class_uid in SEG_CLASSES:
            segs.setdefault(instance.digest, instance)
        elif instance.sop_class_uid == CONTOURS:
            damaged.append((file.relative_to(folder).as_posix(), _CONVERT))
        elif instance.sop_class_uid in MR_CLASSES:
            series[instance.series_uid].setdefault(instance.digest, instance)
    if not segs and not damaged:
        raise SourceMissing(f"{folder}: no DICOM SEG below it; give the folder with MR and SEG")
    return FolderContent(
        {k: tuple(v.values()) for k, v in series.items()}, tuple(segs.values()), tuple(damaged)
    )


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _holds_contours(file: Path) -> bool:
    """Return whether a file that is not read as an image says that it is an RT Structure Set."""
    try:
        return attributes.text(_header(file), "SOPClassUID") == CONTOURS
    except Exception:  # noqa: BLE001 - hostile bytes may break a parser in any way
        return False


def pending(folder: Path, table: LabelTable | None = None) -> Iterator[PendingPair]:
    """Yield every MR series with its SEGs, and every SEG that cannot be paired, as one that is refused when loaded.

    Raises:
        SourceMissing: no SEG below the folder.
    """
    content = read_folder(folder)
    for name, reason in content.damaged:
        yield PendingPair(name, "?", "", "", partial(_refuse, reason))
    groups: dict[tuple[str, Path | None], list[Instance]] = defaultdict(list)
    for seg in content.segs:
        name = seg.path.relative_to(folder).as_posix()
        try:
            groups[_find_series(seg, content), corrections.home_of(seg.path)].append(seg)
        except InputRefused as refusal:
            yield PendingPair(name, "?", "", "", partial(_refuse, str(refusal)))
    for (series_uid, home), segs in sorted(groups.items(), key=lambda g: g[1][0].path):
        yield _paired(folder, content.series[series_uid], segs, table, home)


def _refuse(reason: str) -> LabelledImage:
    raise ImportRefused(reason)


def _paired(
    folder: Path,
    images: Sequence[Instance],
    segs: Sequence[Instance],
    table: LabelTable | None,
    home: Path | None,
) -> PendingPair:
    """Return a series with its SEGs. home: the folder of a node's correction, None of any others."""
    patient = _header(images[0].path)
    mapping = "\n".join(f"{k}={t.text}" for k, t in sorted((table or {}).items()))
    digest = "\n".join([mapping, *sorted(i.digest for i in (*images, *segs))])
    return PendingPair(
        " + ".join(s.path.relative_to(folder).as_posix() for s in segs)
        if home is None
        else home.name,
        attributes.text(patient, "PatientID"),
        attributes.text(patient, "IssuerOfPatientID"),
        hashlib.sha256(digest.encode()).hexdigest(),
        partial(_load, tuple(images), tuple(segs), table, home),
    )


def _header(file: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(file, force=True, stop_before_pixels=True)


def _find_series(seg: Instance, content: FolderContent) -> str:
    """Return the series UID of the images that a SEG segments; raises `ImportRefused`."""
    header = _header(seg.path)
    named = {
        attributes.text(i, "SeriesInstanceUID")
        for i in attributes.items(header, "ReferencedSeriesSequence")
    }
    candidates = [uid for uid in sorted(content.series) if uid in named]
    if not named:  # an old writer; only the frame of reference identifies the series
        candidates = [
            uid
            for uid, images in sorted(content.series.items())
            if images[0].study_uid == seg.study_uid
            and images[0].frame_of_reference_uid == seg.frame_of_reference_uid
        ]
    if len(candidates) != 1:
        raise ImportRefused(
            f"rule one-series: {len(candidates)} MR series are segmented by it; exactly one is needed"
        )
    image = content.series[candidates[0]][0]
    if not seg.frame_of_reference_uid or seg.frame_of_reference_uid != image.frame_of_reference_uid:
        raise ImportRefused(
            f"rule frame-of-reference: {seg.path.name} and {image.path.name} do not share one; register"
            " and segment again"
        )
    other = _header(image.path)
    issuers = {attributes.text(ds, "IssuerOfPatientID") for ds in (header, other)} - {""}
    same_id = attributes.text(header, "PatientID") == attributes.text(other, "PatientID")
    if (
        not same_id or len(issuers) > 1
    ):  # viewers leave the issuer out; an absent one contradicts none
        raise ImportRefused(
            f"rule one-patient: {seg.path.name} and {image.path.name} carry different patient ids"
        )
    return candidates[0]


def _load(
    images: tuple[Instance, ...],
    segs: tuple[Instance, ...],
    table: LabelTable | None,
    home: Path | None,
) -> LabelledImage:
    """Read the pixels of a series and of its SEGs; raises `InputRefused`."""
    grid = assemble(images)
    if isinstance(grid, GeometryProblem):
        raise ImportRefused(f"rule regular-series: {grid.text}")
    small = why_too_small(grid)
    if small is not None:
        raise ImportRefused(f"rule large-enough: {small}")
    source = pixels.read_source(grid)
    corrected = None if home is None else corrections.read_corrected(home, grid)
    masks, labels_by = (
        _labels(segs, table) if corrected is None else (corrected.masks, corrections.CORRECTED)
    )
    acquisition = {
        "source_shape": list(grid.shape),
        "source_spacing_mm": [round(v, 4) for v in grid.spacing_mm],
        "source_orientation": grid.orientation,
        "repetition_time_ms": images[0].repetition_time_ms,
        "echo_time_ms": images[0].echo_time_ms,
    }
    image = to_sitk_image(source.volume.array.astype(np.float32), source.volume.affine)
    files = [i.path for i in (*grid.instances, *segs)]
    return LabelledImage(
        image,
        masks,
        acquisition,
        labels_by,
        frozenset() if corrected is None else corrected.context,
        None if corrected is None else corrected.card,
        lambda: map(dcmread, files),
    )


def _labels(segs: Sequence[Instance], table: LabelTable | None) -> tuple[list[Mask], str]:
    """Return the masks of all segments of all SEGs, and how they were drawn: manual, semiautomatic, …"""
    masks: list[Mask] = []
    drawn: dict[Target, Path] = {}
    by: set[str] = set()
    for seg in segs:
        segmentation, name = import_seg.read_seg(seg.path), seg.path.name
        targets = import_seg.read_targets(segmentation, table, name)
        for target in set(targets.values()) - {Target(None)}:
            if drawn.setdefault(target, seg.path) != seg.path:
                raise ImportRefused(
                    f"rule one-label: {drawn[target].name} and {name} both hold {target.text}; remove one"
                )
        masks += import_seg.read_masks(segmentation, targets, name)
        by |= {import_seg.drawn_by(segmentation, n) for n in targets}
    return masks, by.pop() if len(by) == 1 else "mixed"
