"""`build_result`: everything about one series and its segmentation, as one `Result`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import numpy as np
from scipy import ndimage

from dicomseg.encode.sanitise import Headers
from dicomseg.encode.uids import ResultKey
from dicomseg.read.geometry_problem import display_name, join_names
from dicomseg.read.pixels import Source
from dicomseg.read.series import Grid, count_differs, expected_count
from dicomseg.result import Measurements, Result, SourceSeries, StructureResult
from dicomseg.segmentation import Finding, Segmentation
from dicomseg.structures import STRUCTURES, Structure, StructureId

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


def _series_findings(grid: Grid) -> tuple[Finding, ...]:
    """Report doubts about the series itself: fewer slices than its headers announce, objects left out."""
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
    text = f"{names}: identical pixels at several positions; one of them may have lost its own: send the series again"
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
    instance = source.grid.instances[0]
    boxes = ndimage.find_objects(segmentation.labels.volume.array, max_label=len(STRUCTURES))
    structures: dict[StructureId, StructureResult] = {
        s.id: _structure(s, segmentation, boxes[s.value - 1]) for s in STRUCTURES
    }
    return Result(
        result_id=key.result_id,
        created=created.isoformat(),
        source=SourceSeries(
            study=instance.study_uid,
            series=instance.series_uid,
            frame_of_reference=headers.frame_of_reference_uid,
            instances=len(source.grid.instances),
            description=instance.series_description,
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
            *_series_findings(source.grid),
            *segmentation.findings,
            *measurements.findings,
        ),
        timings_s=dict(timings_s),
    )
