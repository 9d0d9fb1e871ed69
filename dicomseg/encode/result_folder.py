"""All objects of one result: `build_result` gathers what was found, `encode_all` writes the files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from scipy import ndimage

from dicomseg.encode import measurements_sr, midplane_image, seg, volumes_sr
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.sanitise import Headers
from dicomseg.encode.uids import ResultKey
from dicomseg.read.geometry_problem import display_name, join_names
from dicomseg.read.pixels import Source
from dicomseg.read.series import Grid, count_differs, expected_count
from dicomseg.result import (
    Measurements,
    Result,
    ResultObject,
    SourceSeries,
    StructureResult,
    to_json,
)
from dicomseg.segmentation import Finding, Segmentation
from dicomseg.structures import STRUCTURES, Structure, StructureId

Encoder = Callable[[EncodeInput, Mapping[str, Dataset]], Dataset]

ENCODERS: Final[Mapping[str, Encoder]] = MappingProxyType(
    {
        "seg.dcm": lambda inputs, _: seg.encode(inputs),
        "midplane.dcm": lambda inputs, _: midplane_image.encode(inputs),
        "measurements.dcm": measurements_sr.encode,
        "volumes.dcm": volumes_sr.encode,
    }
)
"""File name to encoder, in order: later objects refer to earlier ones."""

RESULT_FILE: Final = "result.json"

Box = tuple[slice, ...]


def _structure(
    structure: Structure, segmentation: Segmentation, box: Box | None
) -> StructureResult:
    """Gather what was found of one structure; box: the index box that holds it, None where there is none."""
    labels = segmentation.labels
    voxels, components, border = 0, 0, False
    if box is not None:
        grown = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        mask = labels.volume.array[grown] == structure.value
        voxels = int(np.count_nonzero(mask))
        components = int(ndimage.label(mask, structure=np.ones((3, 3, 3)))[1])
        shape = labels.volume.shape
        edge = any(s.start == 0 or s.stop == n for s, n in zip(box, shape, strict=True))
        near = ndimage.binary_dilation(mask, structure=np.ones((3, 3, 3)))
        border = edge or bool((near & ~labels.analysed_mask[grown]).any())
    return StructureResult(
        present=voxels > 0,
        volume_ml=voxels * labels.volume.voxel_ml,
        components=components,
        touches_border=border,
        outside_view=structure.id in segmentation.outside_view,
        confidence=segmentation.confidence.get(structure.id),
    )


def _of_series(grid: Grid) -> tuple[Finding, ...]:
    """Doubts about the series itself: fewer slices than its headers announce, objects left out."""
    aside = (
        *(Finding("set_aside", f"set aside: {s.text}", "warning") for s in grid.set_aside),
        *_repeated_pixels(grid),
    )
    count = expected_count(grid.instances)
    if count is None or grid.frame_order or grid.reaches(count) or grid.shape[0] > count:
        return aside
    return (*aside, Finding("count_differs", count_differs(count, grid.shape[0]), "warning"))


def _repeated_pixels(grid: Grid) -> tuple[Finding, ...]:
    """Warn of slices with the pixels of another one: noise is never the same twice, so one has lost its own.

    What the first or last slice holds may be empty, as where distortion is corrected, and does not count.
    """
    counts = Counter(i.pixel_digest for i in grid.instances)
    ends = {"", grid.instances[0].pixel_digest, grid.instances[-1].pixel_digest}
    twice = {digest for digest, count in counts.items() if count > 1} - ends
    if not twice:
        return ()
    names = join_names([display_name(i) for i in grid.instances if i.pixel_digest in twice])
    text = f"{names}: the same pixels at several positions, one of them may have lost its own: send the series again"
    return (Finding("repeated_pixels", text, "warning"),)


def build_result(
    source: Source,
    headers: Headers,
    segmentation: Segmentation,
    measurements: Measurements,
    key: ResultKey,
    created: datetime,
    timings_s: Mapping[str, float],
) -> Result:
    """Gather the findings about one series; objects are filled in by `encode_all`."""
    first = source.grid.instances[0]
    boxes = ndimage.find_objects(segmentation.labels.volume.array, max_label=len(STRUCTURES))
    structures: dict[StructureId, StructureResult] = {
        s.id: _structure(s, segmentation, boxes[s.value - 1]) for s in STRUCTURES
    }
    return Result(
        result_id=key.result_id,
        created=created.isoformat(),
        source=SourceSeries(
            study=first.study_uid,
            series=first.series_uid,
            frame_of_reference=headers.frame_of_reference_uid,
            instances=len(source.grid.instances),
            description=first.series_description,
            orientation=source.grid.orientation,
            spacing_mm=source.volume.spacing_mm,
            shape=source.volume.shape,
        ),
        model=segmentation.engine,
        level=segmentation.level,
        structures=structures,
        measurements=measurements,
        warnings=(
            *headers.findings,
            *_of_series(source.grid),
            *segmentation.findings,
            *measurements.findings,
        ),
        timings_s=dict(timings_s),
    )


def encode_all(inputs: EncodeInput) -> dict[str, bytes]:
    """Encode every object of a result; the last file, `result.json`, lists the others with digests."""
    encoded: dict[str, Dataset] = {}
    files: dict[str, bytes] = {}
    listed: list[ResultObject] = []
    for name, encode in ENCODERS.items():
        ds = encoded[name] = encode(inputs, encoded)
        content = files[name] = to_bytes(ds)
        digest = hashlib.sha256(content).hexdigest()
        listed.append(
            ResultObject(name, str(ds.SOPClassUID), str(ds.SOPInstanceUID), len(content), digest)
        )
    before = None if inputs.predecessor is None else inputs.predecessor.result_id
    told = to_json(replace(inputs.result, objects=tuple(listed), predecessor=before))
    files[RESULT_FILE] = (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()
    return files
