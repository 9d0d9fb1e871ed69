"""Instances to one regular grid in patient space, or the gaps that prevent it; pure.

What does not belong to the grid is set aside and named: other classes, localizers, other orientations,
contrasts and acquisitions. What could belong to it never is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from dicomseg.contrast import contrast_of
from dicomseg.gaps import Gaps, Slice, listing, name_of
from dicomseg.instance import Instance
from dicomseg.lattice import Lattice
from dicomseg.predicates import MR_CLASSES, distortion_rank, is_localizer
from dicomseg.sorting import CRITERIA, Found, Part, differing, elsewhere, parts_of, volumes
from dicomseg.volume import Points

__all__ = [
    "Gaps",
    "Grid",
    "SetAside",
    "assemble",
    "count_differs",
    "expected_count",
    "grids",
    "images",
    "same_geometry",
    "too_small",
]

Orientation = Literal["axial", "sagittal", "coronal", "oblique"]

SQUARE_TOLERANCE: Final = 5e-3
"""How far the two directions of an image may be from unit length and from a right angle: noise of 2e-4
in every cosine makes 1e-3. What it means for the slices is judged in mm by `dicomseg.lattice`."""

DIRECT_COSINE: Final = 0.8
"""A normal within 37° of a patient axis names the orientation; oblique lumbar slices stay axial."""

MIN_SLICES: Final = 12
MIN_EXTENT_MM: Final = 10.0
"""Smallest volume in which a disc can be found: about one disc height."""

FARTHEST_MM: Final = 10_000.0
"""No image plane lies farther from the scanner's centre, and no spacing is larger: a hostile header."""


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
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    def reaches(self, count: int) -> bool:
        """Whether an announced number of slices has come: of the grid, or with its repetitions."""
        others = sum(s.count for s in self.set_aside if s.code in _SIBLINGS)
        return self.shape[0] == count or self.shape[0] + others == count


_SIBLINGS: Final = frozenset({"several-volumes", "mixed-contrasts", "two-echoes", "repeated-slices", "other-acquisition"})  # fmt: skip
"""What is announced together with the grid: echoes, contrasts and repetitions of its acquisition."""


def assemble(instances: Sequence[Instance]) -> Grid | Gaps:
    """One regular grid of the slices in patient space, or what prevents it."""
    found = grids(instances)
    return found if isinstance(found, Gaps) else found[0]


def grids(instances: Sequence[Instance]) -> tuple[Grid, ...] | Gaps:
    """All regular grids of a series that are large enough, the preferred first.

    Preferred are magnitude, water and in-phase images, acquired ones, then the most slices, corrected
    distortion, the longer echo and the latest acquisition. Two of the same size in different planes
    are no choice: that is a gap.
    """
    given = sorted(instances, key=lambda i: (i.instance_number or 0, i.sop_instance_uid))
    refused = _refused(given)
    if refused is not None:
        return refused
    kept = images(given)
    aside = _strangers(given, kept)
    slices, bare = _slices(kept)
    if not slices:
        return _no_geometry(bare)
    parts = parts_of(slices)
    found, flaw = _volumes(parts)
    if bare:
        aside = [*aside, SetAside("no-geometry", tuple(bare), _no_geometry(bare).text)]
    if not found:
        return _flawed(parts, flaw, bare)
    ambiguous = _ambiguous(found)
    if ambiguous is not None:
        return ambiguous
    made = tuple(_grid(f, [*aside, *_others(f, parts)]) for f in found)
    doubt = _hidden(made[0], bare)
    return doubt if doubt is not None else made


def images(instances: Sequence[Instance]) -> list[Instance]:
    """Those that may be slices of the volume: MR images, and no localizers where there are others."""
    mr = [i for i in instances if i.sop_class_uid in MR_CLASSES] or list(instances)
    return [i for i in mr if not is_localizer(i)] or mr


def too_small(grid: Grid) -> str | None:
    """Say why the grid holds too little to find a disc in, None when it is large enough."""
    return _too_small(grid.shape[0], grid.spacing_mm[0])


def _too_small(count: int, spacing_mm: float) -> str | None:
    extent_mm = count * spacing_mm
    if count < MIN_SLICES:
        return f"{count} slices; at least {MIN_SLICES} are needed"
    if extent_mm < MIN_EXTENT_MM:
        return f"{extent_mm:.1f} mm along the slices; at least {MIN_EXTENT_MM:g} mm are needed"
    return None


def expected_count(instances: Sequence[Instance]) -> int | None:
    """Return how many slices the headers announce, None when they do not tell or disagree.

    A multi-frame object holds all its frames; classic objects may carry Images in Acquisition. To be
    compared by `Grid.reaches`.
    """
    kept = images(instances)
    if len(kept) == 1 and kept[0].frames > 1:
        return kept[0].frames
    told = {i.images_in_acquisition for i in kept}
    count = told.pop() if len(told) == 1 else None
    return count if count is not None and count > 0 else None


def count_differs(announced: int, have: int) -> str:
    """Sentence about a regular series whose headers announce another number of slices."""
    return f"{have} slices came, the headers announce {announced}"


def same_geometry(a: Grid, b: Grid, tolerance_mm: float = 0.1) -> bool:
    """Whether two series are twins: the same voxels in the same frame of reference."""
    if a.shape != b.shape or a.frame_of_reference_uid != b.frame_of_reference_uid:
        return False
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in a.shape), 1]], dtype=float)
    return bool(np.all(np.abs(corners @ (a.affine - b.affine).T) <= tolerance_mm))


# ---- what is refused, and what is set aside ------------------------------------------------------


def _refused(given: Sequence[Instance]) -> Gaps | None:
    if not given:
        return Gaps("no-instances", "no instance has arrived")
    if len({i.series_uid for i in given}) > 1:
        odd = _odd_ones(given, lambda i: i.series_uid)
        return Gaps("mixed-series", f"{odd}: other series than the rest")
    return _mixed_patients(given)


def _odd_ones(given: Sequence[Instance], value: Callable[[Instance], Hashable]) -> str:
    """Names of those that differ from the commonest value."""
    values = [value(i) for i in given]
    common = max(sorted(set(values), key=str), key=values.count)
    return listing([name_of(i) for i, v in zip(given, values, strict=True) if v != common])


_IDENTITY: Final = ("Patient ID", "Issuer of Patient ID", "Patient's Name", "Patient's Name", "Patient's Name", "Patient's Birth Date")  # fmt: skip
"""What `Instance.patient` holds digests of."""


def _mixed_patients(given: Sequence[Instance]) -> Gaps | None:
    """Refuse two patients in one series. An absent value contradicts none."""
    told = [i for i in given if i.patient]
    for n, what in enumerate(_IDENTITY):
        if len({i.patient[n] for i in told} - {""}) > 1:
            known = [i for i in told if i.patient[n]]
            odd = _odd_ones(known, lambda i, n=n: i.patient[n])  # type: ignore[misc]
            return Gaps(
                "mixed-patients",
                f"two patients in one series: {odd} with another {what} than the rest; correct it at the sender",
            )
    return None


def _strangers(given: Sequence[Instance], kept: Sequence[Instance]) -> list[SetAside]:
    used = {id(i) for i in kept}
    left = [i for i in given if id(i) not in used]
    other = [i for i in left if i.sop_class_uid not in MR_CLASSES]
    scouts = [i for i in left if i.sop_class_uid in MR_CLASSES]
    aside = []
    for code, odd, why in (
        ("not-an-mr-image", other, "no MR image"),
        ("localizer", scouts, "a localizer by Image Type"),
    ):
        if odd:
            names = tuple(name_of(i) for i in odd)
            aside.append(SetAside(code, names, f"{listing(names)}: {why}"))
    return aside


def _others(chosen: Found, parts: Sequence[Part]) -> list[SetAside]:
    """Everything with a geometry that is not in the chosen volume, by why it is not."""
    used = {id(s) for s in (*chosen.lattice.slices, *chosen.copies)}
    held: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        criterion = differing(chosen.part, part)
        if criterion is None:
            reason = ("other-acquisition", f"other {chosen.by}")
        else:
            shown = criterion.shown(part.slices[0])
            reason = (criterion.code, f"other {criterion.what} ({shown})")
        for one in part.slices:
            if id(one) not in used:
                held.setdefault(reason, []).append(one.name)
    if chosen.copies:
        repeated = ("repeated-slices", "the same pixels as another slice at its position")
        held[repeated] = [s.name for s in chosen.copies]
    return [
        SetAside(code, tuple(names), f"{listing(names)}: {why}")
        for (code, why), names in held.items()
    ]


# ---- slices ----------------------------------------------------------------------------------------


def _slices(given: Sequence[Instance]) -> tuple[list[Slice], list[str]]:
    """All slices and frames with a geometry, and the names of what has none."""
    found: list[Slice] = []
    bare: list[str] = []
    for instance in given:
        if instance.frames == 1:
            made = [(name_of(instance), _slice(instance))]
        elif len(instance.frame_positions_lps) != instance.frames:
            made = [(f"{name_of(instance)} with {instance.frames} frames", None)]
        else:
            of = f"{name_of(instance)} " if len(given) > 1 else ""
            made = [(f"{of}frame {n + 1}", _frame(instance, n, of)) for n in range(instance.frames)]
        bare += [name for name, one in made if one is None]
        found += [one for _, one in made if one is not None]
    return found, bare


def _slice(instance: Instance) -> Slice | None:
    position, row, column = instance.position_lps, instance.row_lps, instance.column_lps
    if position is None or row is None or column is None or instance.spacing_mm is None:
        return None
    made = Slice(
        name_of(instance),
        instance,
        None,
        position,
        row,
        column,
        instance.spacing_mm,
        instance.echo_time_ms,
        instance.image_type,
    )
    return made if _is_plane(made) else None


def _frame(instance: Instance, n: int, of: str) -> Slice | None:
    directions, spacings = instance.frame_orientations_lps, instance.frame_spacings_mm
    row, column = directions[n] if directions else (instance.row_lps, instance.column_lps)
    spacing = spacings[n] if spacings else instance.spacing_mm
    if row is None or column is None or spacing is None:
        return None
    echoes, types, stacks = (
        instance.frame_echo_times_ms,
        instance.frame_image_types,
        instance.frame_stacks,
    )
    made = Slice(
        f"{of}frame {n + 1}",
        instance,
        n,
        instance.frame_positions_lps[n],
        row,
        column,
        spacing,
        echoes[n] if echoes else instance.echo_time_ms,
        types[n] if types else instance.image_type,
        stacks[n] if stacks else "",
    )
    return made if _is_plane(made) else None


def _is_plane(one: Slice) -> bool:
    """Whether the header is that of an image plane in a scanner."""
    if max(abs(v) for v in (*one.position, *one.spacing)) > FARTHEST_MM:
        return False
    if not (one.instance.rows and one.instance.columns):
        return False
    if max(abs(v) for v in (*one.row, *one.column)) > 1 + SQUARE_TOLERANCE:
        return False
    gram = np.array([one.row, one.column]) @ np.array([one.row, one.column]).T
    return bool(np.all(np.abs(gram - np.eye(2)) <= SQUARE_TOLERANCE))


def _no_geometry(bare: Sequence[str]) -> Gaps:
    return Gaps(
        "no-geometry",
        f"{listing(bare)}: position, orientation, pixel spacing or size is absent or no image plane",
    )


# ---- which volume --------------------------------------------------------------------------------


def _volumes(parts: Sequence[Part]) -> tuple[list[Found], Gaps | None]:
    """The regular volumes, the preferred first, and the flaw of the largest part.

    Of several only those that are large enough count; a single part may be small.
    """
    answers = [volumes(part) for part in parts]
    flaw = answers[0] if isinstance(answers[0], Gaps) else None
    found = [f for a in answers if not isinstance(a, Gaps) for f in a]
    large = [f for f in found if _too_small(len(f.lattice.slices), _spacing(f.lattice)) is None]
    usable = large or (found if len(parts) == 1 else [])
    return sorted(usable, key=_preference), flaw


def _spacing(lattice: Lattice) -> float:
    return float(np.linalg.norm(lattice.step))


def _preference(found: Found) -> tuple[object, ...]:
    one = found.lattice.slices[0]
    instance = one.instance
    return (
        contrast_of(one.image_type, instance.complex_component).rank,
        -len(found.lattice.slices),
        -distortion_rank(replace(instance, image_type=one.image_type)),
        -(one.echo_time_ms or 0.0),
        _reversed(f"{instance.acquisition_number or 0:012d}"),
        _reversed(instance.acquisition_date + instance.acquisition_time),
        instance.sop_instance_uid,
    )


def _reversed(text: str) -> tuple[int, ...]:
    """Sort key by which the later text comes first."""
    return (*(-ord(c) for c in text), 1)


def _ambiguous(found: Sequence[Found]) -> Gaps | None:
    """Two volumes of one size in different places: nobody can say which is meant."""
    first = found[0]
    for other in found[1:]:
        if len(other.lattice.slices) == len(first.lattice.slices) and (
            _preference(other)[0] == _preference(first)[0]
            and (elsewhere(first.part, other.part) or _apart_mm(first, other) > MIN_EXTENT_MM)
        ):
            criterion = differing(first.part, other.part)
            what = "place" if criterion is None else criterion.what
            code = "several-volumes" if criterion is None else criterion.code
            names = [listing([s.name for s in f.lattice.slices]) for f in (first, other)]
            return Gaps(
                code,
                f"two volumes of {len(first.lattice.slices)} slices with other {what}: {names[0]};"
                f" {names[1]}; send them as two series",
            )
    return None


def _apart_mm(a: Found, b: Found) -> float:
    centres = [np.mean([s.position for s in f.lattice.slices], axis=0) for f in (a, b)]
    return float(np.linalg.norm(centres[0] - centres[1]))


def _flawed(parts: Sequence[Part], flaw: Gaps | None, bare: Sequence[str]) -> Gaps:
    """Why there is no volume: the flaw of the largest part, after what is unlike it."""
    main = flaw or Gaps("several-volumes", "no part of it is a volume by itself")
    if bare:
        gaps = _no_geometry(bare)
        return Gaps(gaps.code, f"{gaps.text}; without it: {main.text}", main.missing_lps)
    if len(parts) == 1:
        return main
    criterion = differing(parts[0], parts[1]) or CRITERIA[0]
    names = [s.name for part in parts[1:] for s in part.slices]
    shown = criterion.shown(parts[0].slices[0])
    return Gaps(
        criterion.code,
        f"{listing(names)}: other {criterion.what} than {shown}; without it: {main.text}",
        main.missing_lps,
    )


def _hidden(grid: Grid, bare: Sequence[str]) -> Gaps | None:
    """Slices of the volume that may hide among those set aside: the announced number is not reached."""
    odd = [s for s in grid.set_aside if s.code in _PLACES or s.code == "no-geometry"]
    if not odd or grid.frame_order:
        return None
    count = expected_count(grid.instances)
    if count is None:
        return _no_geometry(bare) if bare else None
    if grid.shape[0] >= count or grid.reaches(count):
        return None
    return Gaps(
        odd[0].code, f"{odd[0].text}; without it {grid.shape[0]} of {count} slices have come"
    )


_PLACES: Final = frozenset(c.code for c in CRITERIA if c.place)


def _grid(found: Found, aside: Sequence[SetAside]) -> Grid:
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
    return Grid(
        instances=(first,) if order else tuple(s.instance for s in lattice.slices),
        affine=affine,
        shape=(len(lattice.slices), first.rows or 0, first.columns or 0),
        orientation=_orientation(lattice.directions[:, 0]),
        frame_of_reference_uid=first.frame_of_reference_uid,
        frame_order=order,
        set_aside=tuple(aside),
    )


def _orientation(normal: Points) -> Orientation:
    axis = int(np.argmax(np.abs(normal)))
    if abs(normal[axis]) < DIRECT_COSINE:
        return "oblique"
    names: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")
    return names[axis]
