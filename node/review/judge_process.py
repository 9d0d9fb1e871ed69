"""The process that reads segmentations, run as `python -m node.review.judge_process`: untrusted voxels are decoded here.

A question is `["references", path]` or `["judge", {…}]` with the fields of `_judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from dicomseg.errors import InputRefused
from dicomseg.read import attributes
from dicomseg.read import header as headers
from dicomseg.read.correction import Correction, Ours, Rejected, judge, read_references
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.seg_labels import SegLabels, read_labels
from dicomseg.read.series import Grid, assemble
from node.review.values import measure_again
from node.sandbox.answers import answer_questions
from node.store.results import read_result

RESULT_SEG: Final = "seg.dcm"
"""Our own segmentation in the folder of a result."""
MOST_BYTES: Final = 4_000_000_000
"""Address space: labels, scores and scratch of the largest series, and the libraries."""
MOST_FILE_BYTES: Final = 1 << 29
"""Bytes of a segmentation that is read: ten segments as bytes on 200 slices of 512 × 512 are as many."""


def answer(question: Any) -> object:
    """Answer one question; what a file does to its reader is an answer too."""
    kind, given = question
    return _guarded(_references if kind == "references" else _judge, given)


def _guarded(ask: Callable[[Any], dict[str, Any]], given: Any) -> dict[str, Any]:
    try:
        return ask(given)
    except OSError as error:
        return {"errno": error.errno}
    except MemoryError:
        return _refused(
            "too-large", "reading it needs more memory than is allowed; export it again"
        )
    except InputRefused as refusal:
        cause = refusal.__cause__
        if isinstance(cause, OSError):
            return {"errno": cause.errno}
        return _refused("damaged-frames", "it is no complete DICOM object; export it again")
    except Exception as error:  # noqa: BLE001 - the file holds anything
        return _refused(
            "damaged-frames", f"its frames cannot be read ({type(error).__name__}); export it again"
        )


def _refused(code: str, text: str, *, is_correction: bool = True) -> dict[str, Any]:
    return {"refused": {"code": code, "text": text, "is_correction": is_correction}}


def _references(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.stat().st_size > MOST_FILE_BYTES:
        return _refused(
            "too-large", f"it has more than {MOST_FILE_BYTES >> 20} MiB; export it again"
        )
    named = read_references(dcmread(path, force=True, stop_before_pixels=True))
    return {"references": asdict(named)}


def _judge(given: Mapping[str, Any]) -> dict[str, Any]:
    """Judge one segmentation.

    seg: path; earlier: paths of those that correct the same series, oldest first; images: paths; result: folder; own:
    UIDs of our objects.
    """
    path, folder = Path(given["seg"]), Path(given["result"])
    grid = assemble([headers.read_instance(Path(p)) for p in given["images"]])
    if isinstance(grid, GeometryProblem):
        return _refused(
            "no-volume", "the images that are here make no regular volume any more; send them again"
        )
    seg = headers.read_instance(path)
    ds = dcmread(path, force=True)
    result = _labels(folder / RESULT_SEG, grid)
    ours = Ours(frozenset(given["own"]), None if result is None else result.numbers)
    # One that does not fit the images that are here now no longer counts.
    read = [_labels(Path(p), grid) for p in given["earlier"]]
    earlier = {n: labels for n, labels in enumerate(read) if labels is not None}
    found = judge(ds, seg, grid, ours, list(earlier.values()))
    if isinstance(found, Rejected):
        return _refused(found.code, found.text, is_correction=found.is_correction)
    automatic = read_result(folder)
    return {
        "accepted": _figures(found) | {"values": measure_again(found, automatic)},
        "kept": [list(earlier)[n] for n in found.kept],
        "creator": attributes.text(ds, "ContentCreatorName")[:64],
    }


def _labels(path: Path, grid: Grid) -> SegLabels | None:
    """Return the labels of a segmentation, None where it does not fit the images that are here now."""
    try:
        return read_labels(dcmread(path), grid)
    except Exception:  # noqa: BLE001 - then it is not compared
        return None


def _figures(found: Correction) -> dict[str, Any]:
    return {
        "segments": {s: list(numbers) for s, numbers in found.segments.items()},
        "drawn": list(found.drawn),
        "unchanged": list(found.unchanged),
        "structures": {
            s: {
                "before_ml": round(c.before_ml, 3),
                "after_ml": round(c.after_ml, 3),
                "dice": None if c.dice is None else round(c.dice, 4),
            }
            for s, c in found.changes.items()
        },
    }


def main() -> None:
    """Answer until the service is gone."""
    answer_questions(answer, MOST_BYTES)


if __name__ == "__main__":
    main()
