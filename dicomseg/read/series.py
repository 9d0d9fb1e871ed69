"""Assemble instances to one regular grid in patient space, or report what prevents it; pure.

What does not belong to the grid is set aside and named: other classes, localizers, other orientations,
contrasts and acquisitions. What could belong to it never is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from dicomseg.read.choice import choose_volumes, find_hidden_slices
from dicomseg.read.geometry_problem import GeometryProblem, Slice, display_name, join_names
from dicomseg.read.instance import Instance
from dicomseg.read.lattice import why_too_thin
from dicomseg.read.predicates import MR_CLASSES, is_localizer
from dicomseg.read.slices import Unplaced, no_geometry_problem, to_slices
from dicomseg.read.sorting import CRITERIA, Part, RegularVolume, first_difference, partition
from dicomseg.volume import Points, to_point

Orientation = Literal["axial", "sagittal", "coronal", "oblique"]

SAME_GRID_MM: Final = 0.1
"""How far voxels that are meant to be the same may lie apart: a tenth of the finest voxel in use."""

DIRECT_COSINE: Final = 0.8
"""A normal within 37° of a patient axis names the orientation; oblique lumbar slices stay axial."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Objects or frames of the series that are not part of the grid: a stable code, names, a sentence."""

    code: str
    names: tuple[str, ...]
    text: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid of slices.

    instances: ordered ascending along the normal row × column; one element for a multi-frame object.
    affine: (4, 4), index (i = slice, j = row, k = column) to LPS mm of the voxel centre.
    shape: voxels along (i, j, k). frame_order: for a multi-frame object the frame index (from 0) of
    every slice, () for classic objects. set_aside: what of the series was left out.
    """

    instances: tuple[Instance, ...]
    affine: Points
    shape: tuple[int, int, int]
    orientation: Orientation
    frame_of_reference_uid: str
    frame_order: tuple[int, ...] = ()
    set_aside: tuple[SetAside, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (slice, row, column) in mm."""
        return to_point(np.linalg.norm(self.affine[:3, :3], axis=0))

    def reaches(self, count: int) -> bool:
        """Whether an announced number of slices has come: of the grid, or with its repetitions."""
        others = sum(s.count for s in self.set_aside if s.code in _SIBLINGS)
        return self.shape[0] == count or self.shape[0] + others == count


_SIBLINGS: Final = frozenset({"several-volumes", "mixed-contrasts", "two-echoes", "repeated-slices", "other-acquisition"})  # fmt: skip
"""What is announced together with the grid: echoes, contrasts and repetitions of its acquisition."""


def assemble(instances: Sequence[Instance]) -> Grid | GeometryProblem:
    """Return one regular grid of the slices in patient space, or what prevents it."""
    grids = assemble_all(instances)
    return grids if isinstance(grids, GeometryProblem) else grids[0]


def assemble_all(instances: Sequence[Instance]) -> tuple[Grid, ...] | GeometryProblem:
    """Return all regular grids of a series that are large enough, the preferred first.

    Preferred are magnitude, water and in-phase images, acquired ones, then the most slices, corrected
    distortion, the longer echo and the latest acquisition. Two of the same size in different planes
    cannot be chosen from: that is a problem.
    """
    received = sorted(instances, key=lambda i: (i.instance_number or 0, i.sop_instance_uid))
    refused = _refused(received)
    if refused is not None:
        return refused
    kept = image_instances(received)
    slices, unplaced = to_slices(kept)
    if not slices:
        return no_geometry_problem(unplaced)
    parts = partition(slices)
    volumes = choose_volumes(parts, unplaced)
    if isinstance(volumes, GeometryProblem):
        return volumes
    aside = _strangers(received, kept, unplaced)
    grids = [_grid(v, [*aside, *_others(v, parts)]) for v in volumes]
    problems = [
        find_hidden_slices(v, volumes, parts, unplaced) or _too_few_came(g)
        for v, g in zip(volumes, grids, strict=True)
    ]
    sound = tuple(g for g, problem in zip(grids, problems, strict=True) if problem is None)
    return sound or next(problem for problem in problems if problem is not None)


def image_instances(instances: Sequence[Instance]) -> list[Instance]:
    """Select those that may be slices of the volume: MR images, without localizers where there are others."""
    mr = [i for i in instances if i.sop_class_uid in MR_CLASSES] or list(instances)
    return [i for i in mr if not is_localizer(i)] or mr


def why_too_small(grid: Grid) -> str | None:
    """Say why the grid holds too little to find a disc in, None when it is large enough."""
    return why_too_thin(grid.shape[0], grid.spacing_mm[0])


def expected_count(instances: Sequence[Instance]) -> int | None:
    """Return how many slices the headers announce, None when they do not or disagree.

    A multi-frame object holds all its frames; classic objects may carry Images in Acquisition. To be
    compared by `Grid.reaches`.
    """
    kept = image_instances(instances)
    if len(kept) == 1 and kept[0].frames > 1:
        return kept[0].frames
    counts = {i.images_in_acquisition for i in kept}
    count = counts.pop() if len(counts) == 1 else None
    return count if count is not None and count > 0 else None


def count_differs(announced: int, have: int) -> str:
    """Report a regular series whose headers announce another number of slices."""
    return f"received {have} slices, the headers announce {announced}"


def same_geometry(a: Grid, b: Grid, tolerance_mm: float = SAME_GRID_MM) -> bool:
    """Whether two series have the same voxels in the same frame of reference."""
    if a.shape != b.shape or a.frame_of_reference_uid != b.frame_of_reference_uid:
        return False
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in a.shape), 1]], dtype=float)
    return bool(np.all(np.abs(corners @ (a.affine - b.affine).T) <= tolerance_mm))


# ---- what is refused, and what is set aside ------------------------------------------------------


def _refused(given: Sequence[Instance]) -> GeometryProblem | None:
    if not given:
        return GeometryProblem("no-instances", "no instance received")
    if len({i.series_uid for i in given}) > 1:
        odd = _odd_ones(given, lambda i: i.series_uid)
        return GeometryProblem(
            "mixed-series", f"{odd}: Series Instance UID differs from the other instances"
        )
    return _mixed_patients(given)


def _odd_ones(given: Sequence[Instance], value: Callable[[Instance], Hashable]) -> str:
    """Names of those that differ from the commonest value."""
    values = [value(i) for i in given]
    common = max(sorted(set(values), key=str), key=values.count)
    return join_names([display_name(i) for i, v in zip(given, values, strict=True) if v != common])


_IDENTITY: Final = ("Patient ID", "Issuer of Patient ID", "Patient's Name", "Patient's Name", "Patient's Name", "Patient's Birth Date")  # fmt: skip
"""What `Instance.patient` holds digests of."""


def _mixed_patients(given: Sequence[Instance]) -> GeometryProblem | None:
    """Refuse two patients in one series. An absent value contradicts none."""
    identified = [i for i in given if i.patient]
    for n, what in enumerate(_IDENTITY):
        if len({i.patient[n] for i in identified} - {""}) > 1:
            known = [i for i in identified if i.patient[n]]
            odd = _odd_ones(known, lambda i, n=n: i.patient[n])  # type: ignore[misc]
            return GeometryProblem(
                "mixed-patients",
                f"two patients in one series: {odd} with a different {what}; correct it at the sender",
            )
    return None


def _strangers(
    given: Sequence[Instance], kept: Sequence[Instance], unplaced: Sequence[Unplaced]
) -> list[SetAside]:
    used = {id(i) for i in kept}
    left = [i for i in given if id(i) not in used]
    other = [i for i in left if i.sop_class_uid not in MR_CLASSES]
    scouts = [i for i in left if i.sop_class_uid in MR_CLASSES]
    aside = []
    for code, odd, why in (
        ("not-an-mr-image", other, "not an MR image"),
        ("localizer", scouts, "a localizer by Image Type"),
    ):
        if odd:
            names = tuple(display_name(i) for i in odd)
            aside.append(SetAside(code, names, f"{join_names(names)}: {why}"))
    if unplaced:
        problem = no_geometry_problem(unplaced)
        aside.append(SetAside(problem.code, tuple(b.name for b in unplaced), problem.text))
    return aside


def _others(chosen: RegularVolume, parts: Sequence[Part]) -> list[SetAside]:
    """Everything with a geometry that is not in the chosen volume, by why it is not."""
    used = {id(s) for s in (*chosen.lattice.slices, *chosen.copies)}
    held: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        criterion = first_difference(chosen.part, part)
        if criterion is None:
            reason = ("other-acquisition", f"different {chosen.by}")
        else:
            shown = criterion.shown(part.slices[0])
            reason = (criterion.code, f"different {criterion.what} ({shown})")
        for one in part.slices:
            if id(one) not in used:
                held.setdefault(reason, []).append(one.name)
    if chosen.copies:
        repeated = ("repeated-slices", "same pixels as another slice at the same position")
        held[repeated] = [s.name for s in chosen.copies]
    return [
        SetAside(code, tuple(names), f"{join_names(names)}: {why}")
        for (code, why), names in held.items()
    ]


# ---- the grid ------------------------------------------------------------------------------------


def _too_few_came(grid: Grid) -> GeometryProblem | None:
    """Slices of the volume may be among those set aside where the announced number is not reached."""
    odd = [s for s in grid.set_aside if s.code in _MAY_BELONG]
    count = expected_count(grid.instances)
    if not odd or grid.frame_order or count is None:
        return None
    if grid.shape[0] >= count or grid.reaches(count):
        return None
    return GeometryProblem(
        odd[0].code, f"{odd[0].text}; received {grid.shape[0]} of {count} slices without them"
    )


_MAY_BELONG: Final = frozenset({"no-geometry", *(c.code for c in CRITERIA if c.place)})


def _grid(found: RegularVolume, aside: Sequence[SetAside]) -> Grid:
    lattice = found.lattice
    first = lattice.slices[0].instance
    affine = np.eye(4)
    affine[:3, 0] = lattice.step
    # PS3.3 C.7.6.2.1.1: the first triplet runs along a row, so it goes with the column index, and
    # the second value of Pixel Spacing is the distance between columns.
    affine[:3, 1] = lattice.directions[:, 1] * lattice.spacing[0]
    affine[:3, 2] = lattice.directions[:, 2] * lattice.spacing[1]
    affine[:3, 3] = lattice.origin
    order = tuple(s.frame for s in lattice.slices if s.frame is not None)
    frames_of_reference = (s.instance.frame_of_reference_uid for s in lattice.slices)
    return Grid(
        instances=(_of_frame(lattice.slices[0]),)
        if order
        else tuple(s.instance for s in lattice.slices),
        affine=affine,
        shape=(len(lattice.slices), first.rows or 0, first.columns or 0),
        orientation=_orientation(lattice.directions[:, 0]),
        frame_of_reference_uid=next((uid for uid in frames_of_reference if uid), ""),
        frame_order=order,
        set_aside=tuple(aside),
    )


def _of_frame(one: Slice) -> Instance:
    """The object with the facts of the frames that were chosen, which need not be those of its first frame."""
    return replace(one.instance, echo_time_ms=one.echo_time_ms, image_type=one.image_type)


def _orientation(normal: Points) -> Orientation:
    axis = int(np.argmax(np.abs(normal)))
    if abs(normal[axis]) < DIRECT_COSINE:
        return "oblique"
    names: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")
    return names[axis]
