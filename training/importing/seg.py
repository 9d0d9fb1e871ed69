"""One DICOM SEG: which structure each segment is, and its mask with its geometry."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import highdicom as hd
import SimpleITK

from dicomseg.read import attributes
from dicomseg.read.segments import part_of
from training.data.prepare import to_sitk_image
from training.errors import ImportRefused
from training.importing.label_table import LabelTable, Target, entry_of, target_of_name

HOW: Final = ("manual", "semiautomatic", "automatic")
_DAMAGE: Final = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    RuntimeError,
    EOFError,
    OSError,
    NotImplementedError,
)


def read_seg(file: Path) -> hd.seg.Segmentation:
    """Read a SEG; raises `ImportRefused`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hd.seg.segread(file)
    except _DAMAGE as error:
        raise ImportRefused(
            f"{file.name}: rule readable: no valid DICOM SEG ({type(error).__name__}); export it again"
        ) from error


def read_targets(
    seg: hd.seg.Segmentation, table: LabelTable | None, name: str
) -> dict[int, Target]:
    """Return the target of every segment: by the table (number or label), else by its coded concept or name.

    Raises:
        ImportRefused: segments that neither knows, by number and label.
    """
    out: dict[int, Target] = {}
    unknown = []
    for number in (n for n in seg.segment_numbers if n != 0):  # 0: a label map's background
        described = seg.get_segment_description(number)
        entry = entry_of(table, str(number), described.segment_label)
        part = part_of(described)
        if entry is not None:
            out[number] = entry
        elif part is not None:
            out[number] = Target(part.structure, part.side)
        elif (further := target_of_name(described.segment_label)) is not None:
            out[number] = further
        else:
            unknown.append(f"{number} ({described.segment_label})")
    if unknown:
        raise ImportRefused(
            f"{name}: rule known-labels: segments {', '.join(unknown)} have neither a known code nor a known name; map each with"
            " --labels, as a structure or as background"
        )
    return out


def drawn_by(seg: hd.seg.Segmentation, number: int) -> str:
    """Return how a segment was drawn, one of `HOW` or "unknown": a viewer may write anything there, a UID too."""
    written = attributes.text(seg.get_segment_description(number), "SegmentAlgorithmType").lower()
    return written if written in HOW else "unknown"


def read_masks(
    seg: hd.seg.Segmentation, targets: Mapping[int, Target], name: str
) -> list[tuple[Target, SimpleITK.Image]]:
    """Return one mask in [0, 1] per segment on the grid of the SEG; a segment without frames is empty."""
    wanted = [n for n, target in targets.items() if target.is_drawn]
    out = []
    for number in wanted:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                volume = seg.get_volume(segment_numbers=[number])
        except _DAMAGE as error:
            reason = " ".join(str(error).split())[:160]
            raise ImportRefused(
                f"{name}: rule regular-grid: its frames make no volume ({reason}); export it again"
            ) from error
        out.append((targets[number], to_sitk_image(volume.array[..., 0], volume.affine)))
    return out
