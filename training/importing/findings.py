"""What a person should know of imported labels, and what of them is not taken: pure functions of labels on the case's grid.

Nothing is taken silently: an absent structure, one side of two, slices without labels and structures drawn over each other
are named, and refused or counted as not labelled by the rules of `docs/howto/import-labels.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array, Points
from training.data.cases import IGNORED
from training.errors import ImportRefused

UPWARDS: Final[tuple[StructureId, ...]] = ("dura", "aa", "pm", "ivc")
DOWNWARDS: Final[tuple[StructureId, ...]] = ("aa", "pm", "ivc")
"""Structures that run through every window about L4/5: where they all end, the labelling ends. The sac ends at the
sacrum, and readers end the canal where they like."""
BEYOND_MM: Final = 8.0
"""An image continues after the last labelled slice where it does so for this distance."""
WINDOW_MM: Final = 60.0
"""So far from the disc labels matter: half the window, and an error of the level. The sac ends below."""
LEAST_LABELLED_MM: Final = 40.0
"""Labelled slices that a case needs: the disc and half a vertebra on both sides."""
LEAST_OVERLAP_ML: Final = 0.1
MOST_OVERLAP: Final = 0.3
"""Share of the smaller of two structures that the other may be drawn over."""
NEAR_DISC_MM: Final = 15.0
BESIDE_MM: Final = 3.0
"""Arteries whose centre lies so far to the right of the veins' are on the wrong side."""
HALF: Final = 0.03
"""A paired structure with less than this share on one side was drawn on the other alone."""
ROOM_MM: Final = 30.0
"""So far from the middle an image must show the missing side, or it is only not in view."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Labels on the case's grid.

    labels: uint8 (i, j, k), axes (to the head, to the back, to the left). affine: index to LPS mm. overlaps: voxels by pair
    of structures. sides: sides drawn of paired structures, by name, where labels tell them apart.
    """

    labels: Array
    affine: Points
    overlaps: Mapping[tuple[StructureId, StructureId], int]
    sides: Mapping[StructureId, frozenset[str]]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def count(self, name: StructureId) -> int:
        """Return the voxels of a structure."""
        return int((self.labels == BY_ID[name].value).sum())

    def centre(self, name: StructureId, around: Points, within_mm: float) -> Points | None:
        """Return the LPS centre of a structure in the slices about a point, None without a voxel there."""
        index = np.argwhere(self.labels == BY_ID[name].value)
        points = index @ self.affine[:3, :3].T + self.affine[:3, 3]
        near = points[np.abs(points[:, 2] - around[2]) <= within_mm]
        return near.mean(axis=0) if len(near) else None


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What of the labels a case takes. labels: as in `Drawn`, with `IGNORED`. known: structures that count as labelled."""

    labels: Array
    known: tuple[StructureId, ...]
    notes: tuple[str, ...]


def take(drawn: Drawn, known: Sequence[StructureId], disc: Points) -> Taken:
    """Return the labels without what cannot be learned from, and a sentence for everything that is left out.

    known: structures that the source names. disc: centre of the disc, LPS mm.

    Raises:
        ImportRefused: too few labelled slices.
    """
    dropped = not_labelled(drawn, known, disc)
    notes = [
        f"{name} {why}; it counts as not labelled in this case" for name, why in dropped.items()
    ]
    labels = np.where(np.isin(drawn.labels, [BY_ID[n].value for n in dropped]), 0, drawn.labels)
    rest = tuple(name for name in known if name not in dropped)
    start, stop, beyond = labelled_slices(drawn, rest, disc)
    labels[:start] = labels[stop:] = IGNORED
    return Taken(labels.astype(np.uint8), rest, tuple([*notes, beyond] if beyond else notes))


def overlaps_of(bits: Array) -> dict[tuple[StructureId, StructureId], int]:
    """Return how many voxels two structures share, for every pair that shares some.

    bits: uint8, bit n − 1 is set where the structure of value n was drawn.
    """
    counts = np.bincount(bits.ravel(), minlength=256)
    found = {}
    for a, b in combinations(STRUCTURES, 2):
        both = (1 << (a.value - 1)) | (1 << (b.value - 1))
        shared = int(sum(counts[n] for n in range(256) if n & both == both))
        if shared:
            found[a.id, b.id] = shared
    return found


def check_overlaps(drawn: Drawn, totals: Mapping[StructureId, int]) -> list[str]:
    """Return a sentence for each pair of structures that were drawn over each other.

    totals: voxels of each structure as it was drawn.

    Raises:
        ImportRefused: one covers more than `MOST_OVERLAP` of the smaller one.
    """
    notes = []
    for (a, b), shared in drawn.overlaps.items():
        smaller = min(a, b, key=lambda name: totals[name])
        share = shared / max(totals[smaller], 1)
        shown = f"{a} and {b} are drawn over each other in {shared * drawn.voxel_ml:.1f} ml, {share:.0%} of {smaller}"
        if share > MOST_OVERLAP:
            raise ImportRefused(f"rule overlap: {shown}; correct one of them")
        if shared * drawn.voxel_ml >= LEAST_OVERLAP_ML:
            notes.append(f"{shown}; the nearer one was taken")
    return notes


def check_vessels(drawn: Drawn, known: Collection[StructureId], disc: Points) -> None:
    """Refuse arteries to the right of veins at the level: image and labels are mirrored, or the vessels exchanged."""
    if not {"aa", "ivc"} <= set(known):
        return
    arteries, veins = (drawn.centre(name, disc, NEAR_DISC_MM) for name in ("aa", "ivc"))
    if arteries is None or veins is None or arteries[0] >= veins[0] - BESIDE_MM:
        return
    raise ImportRefused(
        f"rule sides: at the disc the arteries lie {veins[0] - arteries[0]:.0f} mm to the right of the veins, so image and"
        " labels are mirrored or the vessels exchanged; --mirrored-vessels takes a person in whom it is so"
    )


def not_labelled(
    drawn: Drawn, known: Sequence[StructureId], middle: Points
) -> dict[StructureId, str]:
    """Return the structures that are named and cannot count as labelled in this case, each with its reason."""
    out: dict[StructureId, str] = {}
    for name in known:
        if not drawn.count(name):
            out[name] = "has no voxel"
        elif BY_ID[name].paired and (side := _missing_side(drawn, name, middle)):
            out[name] = f"was drawn on one side only, not on the {side}"
    return out


def _missing_side(drawn: Drawn, name: StructureId, middle: Points) -> str:
    """Return the side of a paired structure that is in view and not drawn, "" where there is none."""
    drawn_sides = drawn.sides.get(name)
    if drawn_sides is not None and len(drawn_sides) == 1:
        return "right" if drawn_sides == {"left"} else "left"
    index = np.argwhere(drawn.labels == BY_ID[name].value)
    x = (index @ drawn.affine[:3, :3].T + drawn.affine[:3, 3])[:, 0]
    left = float((x > middle[0]).mean())
    corners = np.array([[0, 0, 0], np.array(drawn.labels.shape) - 1])
    ends = np.sort((corners @ drawn.affine[:3, :3].T + drawn.affine[:3, 3])[:, 0])
    if left < HALF and ends[1] - middle[0] >= ROOM_MM:
        return "left"
    return "right" if left > 1 - HALF and middle[0] - ends[0] >= ROOM_MM else ""


def labelled_slices(
    drawn: Drawn, known: Collection[StructureId], disc: Points
) -> tuple[int, int, str]:
    """Return the slices [start, stop) of the case that were labelled, and a sentence where the image continues.

    disc: centre of the disc, LPS mm.

    Raises:
        ImportRefused: they are too few for a case.
    """
    total, known_names = drawn.labels.shape[0], set(known)
    spacing = float(np.linalg.norm(drawn.affine[:3, 0]))
    every = np.flatnonzero((drawn.labels > 0).any(axis=(1, 2)))
    first, last = int(every[0]), int(every[-1]) + 1
    middle = float((np.linalg.inv(drawn.affine) @ [*disc, 1.0])[0])
    low = (
        not known_names.isdisjoint(DOWNWARDS)
        and first * spacing > BEYOND_MM
        and (middle - first) * spacing < WINDOW_MM
    )
    high = (
        not known_names.isdisjoint(UPWARDS)
        and (total - last) * spacing > BEYOND_MM
        and (last - middle) * spacing < WINDOW_MM
    )
    start, stop = first if low else 0, last if high else total
    if (start, stop) == (0, total):
        return 0, total, ""
    if (stop - start) * spacing < LEAST_LABELLED_MM:
        raise ImportRefused(
            f"rule coverage: only {(stop - start) * spacing:.0f} mm along the body are labelled; a case needs"
            f" {LEAST_LABELLED_MM:.0f} mm about the disc"
        )
    beyond = (start + total - stop) * spacing
    return (
        start,
        stop,
        f"the image continues for {beyond:.0f} mm beyond the labelled slices; those count as not labelled",
    )


def describe(drawn: Drawn, known: Collection[StructureId]) -> str:
    """Return one line: the volume of each structure."""
    parts = [f"{name} {drawn.count(name) * drawn.voxel_ml:.1f}" for name in BY_ID if name in known]
    return f"{', '.join(parts)} ml"
