"""Segmentations of 3D Slicer, `.seg.nrrd`: which structure each segment is, and its mask.

The header names every segment, its value and, where segments overlap, its layer. The stored box may be smaller than the
image; the file's own geometry places it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK

from training.data.prepare import to_sitk_image
from training.errors import ImportRefused
from training.importing.label_table import LabelTable, Target, entry_of, target_of_name
from training.importing.volumes import itk_affine, read_itk, shown

END: Final = ".seg.nrrd"
_KEY: Final = re.compile(r"Segment(\d+)_LabelValue")


@dataclass(frozen=True, slots=True)
class NamedSegment:
    """One segment of the header."""

    name: str
    value: int
    layer: int


def segments_of(image: SimpleITK.Image) -> list[NamedSegment]:
    """Return the segments that the header names, in its order; none in a plain label map."""
    found = []
    for key in image.GetMetaDataKeys():  # type: ignore[no-untyped-call]
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        prefix = f"Segment{match[1]}_"
        value, layer = _meta(image, f"{prefix}LabelValue"), _meta(image, f"{prefix}Layer") or "0"
        if re.fullmatch(r"\d{1,5}", value) and re.fullmatch(r"\d{1,3}", layer):
            found.append(
                (int(match[1]), NamedSegment(_meta(image, f"{prefix}Name"), int(value), int(layer)))
            )
    return [segment for _, segment in sorted(found, key=lambda pair: pair[0])]


def _meta(image: SimpleITK.Image, key: str) -> str:
    return str(image.GetMetaData(key)).strip() if image.HasMetaDataKey(key) else ""  # type: ignore[no-untyped-call]


def read_segments(file: Path, table: LabelTable) -> list[tuple[Target, SimpleITK.Image]] | None:
    """Return one mask per segment on the file's own grid; None in a plain label map without names.

    table: by name or value; else the segment's own name counts.

    Raises:
        ImportRefused: damaged, or segments that neither the table nor their names tell.
    """
    image = read_itk(file)
    segments = segments_of(image)
    if not segments:
        return None
    targets: list[tuple[NamedSegment, Target]] = []
    unknown = []
    for segment in segments:
        named = target_of_name(segment.name)
        entry = entry_of(table, segment.name, str(segment.value))
        if entry is not None:
            targets.append((segment, entry))
        elif named is not None:
            targets.append((segment, named))
        else:
            unknown.append(f"{segment.value} ({segment.name})")
    if unknown:
        raise ImportRefused(
            f"{shown(file)}: rule known-labels: segments {', '.join(unknown)} have no known name; map each with"
            " --labels, as a structure or as background"
        )
    return list(_masks(image, targets, file))


def _masks(
    image: SimpleITK.Image, targets: list[tuple[NamedSegment, Target]], file: Path
) -> Iterator[tuple[Target, SimpleITK.Image]]:
    array = SimpleITK.GetArrayFromImage(image)
    layers = array[..., None] if array.ndim == 3 else array  # (z, y, x, layer)
    for segment, target in targets:
        if segment.layer >= layers.shape[-1]:
            raise ImportRefused(
                f"{shown(file)}: rule readable: {segment.name} is on layer {segment.layer} of"
                f" {layers.shape[-1]}; export it again"
            )
        if target.is_drawn:
            mask = (layers[..., segment.layer] == segment.value).astype(np.uint8)
            yield target, to_sitk_image(mask.transpose(2, 1, 0), itk_affine(image))
