"""Read and write prepared cases: one `.npz` with arrays and one `.json` card per case.

`<case>.npz`: `image` float32 (i, j, k), `labels` uint8, `affine` (4, 4) float64. Canonical axial
axes: i slices to the head, j rows to the back, k columns to the left, index to LPS mm. Reading needs
numpy only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np

from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array, Points
from training.data.likeness import picture
from training.errors import CaseUnreadable, SourceMissing

CaseSource = Literal["phantom", "spider", "imported", "shapes"]
Point = tuple[float, float, float]
CASE_SCHEMA: Final = 1
ALL_STRUCTURES: Final[tuple[StructureId, ...]] = tuple(s.id for s in STRUCTURES)
IGNORED: Final = 255
"""Label of voxels of which nothing is known: training and scores leave them out."""
CANONICAL_SPACING_MM: Final = (0.8, 0.75, 0.75)
"""Slices, rows, columns of the canonical grid."""
CORRECTION: Final = "correction"
"""Key of the card of a case whose labels readers corrected."""
CARD_PICTURE: Final = "picture"
"""Key of what shows that two cases are of one person; phantoms have none."""
DISC_NAMES: Final = ("l5s1", "l45", "l34", "l23", "l12", "t12l1", "t11t12", "t10t11", "t9t10")
"""Counted from below, as SPIDER's 201, 202, … are."""
BODY_NAMES: Final = ("l5", "l4", "l3", "l2", "l1", "t12", "t11", "t10", "t9")
"""Counted from below, as SPIDER's 1, 2, … are."""
WINDOW_HALF_MM: Final = (90.0, 67.5)
"""Half the paper's window, 240 rows × 180 columns of 0.75 mm."""
MARGIN_MM: Final = 14.0
"""What a phantom case keeps around the window, so that it can be shifted and turned."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One prepared case."""

    case_id: str
    patient_id: str
    source: CaseSource
    image: Array
    """Grey values (i, j, k), float32."""
    labels: Array
    """Structure values (i, j, k), uint8, or `IGNORED`."""
    affine: Points
    """Index to LPS mm, (4, 4)."""
    labelled: tuple[StructureId, ...]
    """Structures whose absence in `labels` means background; every other one is unknown."""
    level_centre_lps: Point
    """Centre of the L4/5 disc, mm."""
    level_normal: Point
    """Unit normal of the L4/5 disc towards the head, LPS."""
    disc_centres: Mapping[str, Point]
    """LPS mm by name, `l45`, `l5s1`, `l34`, … as far as known."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Further values of the case's card."""
    spine: Array | None = None
    """Labels of every level, where known: bodies 1 (L5), 2, …, discs 201 (L5/S1), 202, …, canal 100."""

    def cropped(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Case:
        """Return the case inside an index box [start, stop)."""
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(start)
        return replace(
            self,
            image=np.ascontiguousarray(self.image[box]),
            labels=np.ascontiguousarray(self.labels[box]),
            affine=affine,
            spine=None if self.spine is None else np.ascontiguousarray(self.spine[box]),
        )

    def names_all_discs(self) -> bool:
        """Return whether `disc_centres` names every disc in view; readers who drew L4/5 left the others unlabelled."""
        return self.source in {"phantom", "spider"}

    def other_discs(self) -> list[int]:
        """List the discs that `at_disc` accepts, counted from L5/S1 = 1: those between two labelled bodies."""
        if self.spine is None:
            return []
        present = set(np.unique(self.spine).tolist())
        return [
            n
            for n, name in enumerate(DISC_NAMES, start=1)
            if name != "l45" and name in self.disc_centres and {n - 1, n, 200 + n} <= present - {0}
        ]

    def at_disc(self, number: int) -> Case:
        """Return the same image as if this disc, one of `other_discs`, were L4/5: body above, disc, body below, canal.

        One disc looks like the next, and the network's input says where it is, so one patient gives several samples.
        `level_normal` remains that of L4/5; sampling does not use it.

        Raises:
            ValueError: the case has no labels of its complete spine.
        """
        if self.spine is None:
            raise ValueError(f"{self.case_id} has no labels of its complete spine")
        table = np.zeros(256, dtype=np.uint8)
        table[IGNORED] = IGNORED
        new: dict[int, StructureId] = {
            number: "l4",
            200 + number: "ivd",
            number - 1: "l5",
            100: "dura",
        }
        for old, name in new.items():
            table[old] = BY_ID[name].value
        centre = self.disc_centres[DISC_NAMES[number - 1]]
        # Of vessels, muscles and roots about another disc the spine's labels say nothing.
        about: tuple[StructureId, ...] = (
            "l4",
            "ivd",
            "l5",
            *(s for s in self.labelled if s == "dura"),
        )
        return replace(self, labels=table[self.spine], level_centre_lps=centre, labelled=about)


def crop_to_window(case: Case, margin_mm: float = MARGIN_MM) -> Case:
    """Return the case cut to the paper's window about the disc and a margin, in rows and columns; all slices remain."""
    inverse = np.linalg.inv(case.affine)
    centre = inverse[:3, :3] @ np.asarray(case.level_centre_lps) + inverse[:3, 3]
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    start, stop = [0, 0, 0], list(case.image.shape)
    for axis, half_mm in zip((1, 2), WINDOW_HALF_MM, strict=True):
        reach = (half_mm + margin_mm) / spacing[axis]
        start[axis] = max(int(np.floor(centre[axis] - reach)), 0)
        stop[axis] = min(int(np.ceil(centre[axis] + reach)) + 1, case.image.shape[axis])
    return case.cropped((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def save_case(case: Case, folder: Path) -> Path:
    """Write `<case_id>.npz` and `<case_id>.json`; the card holds a digest of the arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.case_id}.npz"
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as out:
        arrays = {"image": case.image, "labels": case.labels, "affine": case.affine}
        np.savez(out, allow_pickle=False, **arrays, **_spine(case))
    unfinished.replace(path)
    text = json.dumps(_card(case), indent=1, sort_keys=True)
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path.with_suffix(".json"))  # the card last: with it the case exists
    return path


def _spine(case: Case) -> dict[str, Array]:
    return {} if case.spine is None else {"spine": case.spine}


def case_digest(case: Case) -> str:
    """Return the sha256 over image, labels, affine and, where known, the spine; the case's card holds it."""
    total = hashlib.sha256()
    for array in (case.image, case.labels, case.affine, *_spine(case).values()):
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _card(case: Case) -> dict[str, Any]:
    return {
        "schema": CASE_SCHEMA,
        "case": case.case_id,
        "patient_id": case.patient_id,
        "source": case.source,
        "labelled": list(case.labelled),
        "shape": list(case.image.shape),
        "level": {"centre_lps": list(case.level_centre_lps), "normal": list(case.level_normal)},
        "disc_centres": {k: list(v) for k, v in case.disc_centres.items()},
        "digest": case_digest(case),
        "card": dict(case.card),
    } | ({} if case.source == "phantom" else {CARD_PICTURE: _picture(case)})


def _picture(case: Case) -> dict[str, Any]:
    return picture(case.image, case.labels, case.affine, case.level_centre_lps)


def load_case(path: Path) -> Case:
    """Read one case by its `.npz` or `.json`.

    Raises:
        CaseUnreadable: a file is missing or arrays and card do not belong together.
    """
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz")) as arrays:
            image, labels, affine = arrays["image"], arrays["labels"], arrays["affine"]
            spine = arrays.get("spine", None)
    except (OSError, ValueError, KeyError) as error:
        raise CaseUnreadable(f"{path.stem} in {path.parent}: {error}; prepare it again") from error
    if list(image.shape) != card["shape"] or card["schema"] != CASE_SCHEMA:
        raise CaseUnreadable(
            f"{path.stem} in {path.parent}: arrays and card differ; prepare it again"
        )
    level = card["level"]
    return Case(
        card["case"],
        card["patient_id"],
        cast("CaseSource", card["source"]),
        image,
        labels,
        affine,
        tuple(card["labelled"]),
        cast("Point", tuple(level["centre_lps"])),
        cast("Point", tuple(level["normal"])),
        {k: cast("Point", tuple(v)) for k, v in card["disc_centres"].items()},
        card["card"],
        spine,
    )


def read_card_value(path: Path, key: str) -> object:
    """Read one value of a prepared case's card, without its arrays.

    Raises:
        CaseUnreadable: no card, or one without this key.
    """
    try:
        value: object = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CaseUnreadable(f"{path.stem}: {error}; prepare or import it again") from error
    return value


def read_patient(path: Path) -> str:
    """Read the pseudonym of a prepared case's patient from its card.

    Raises:
        CaseUnreadable: no card, or one without a patient.
    """
    patient = read_card_value(path, "patient_id")
    if not isinstance(patient, str) or not patient:
        raise CaseUnreadable(f"{path.stem} names no patient; prepare or import it again")
    return patient


def is_corrected(path: Path) -> bool:
    """Whether readers corrected the labels of a prepared case. Raises `CaseUnreadable`."""
    card = read_card_value(path, "card")
    return isinstance(card, dict) and CORRECTION in card


def list_cases_in(folder: Path) -> list[Path]:
    """List the prepared cases of one folder, by name."""
    return sorted(
        p.with_suffix(".npz") for p in folder.glob("*.json") if p.with_suffix(".npz").exists()
    )


def list_cases(folder: Path) -> list[Path]:
    """List the prepared cases of a folder and of the folders directly in it, by name.

    Raises:
        SourceMissing: there is no such folder.
    """
    if not folder.is_dir():
        raise SourceMissing(
            f"{folder} is no folder; run `lumbar-train prepare --out {folder}` first"
        )
    inner = (path for below in folder.iterdir() if below.is_dir() for path in list_cases_in(below))
    return sorted({*list_cases_in(folder), *inner})
