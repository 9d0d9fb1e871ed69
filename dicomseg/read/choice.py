"""Choose among the volumes of a series, and find slices of the chosen one among the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dicomseg.read.contrast import read_contrast
from dicomseg.read.geometry_problem import GeometryProblem, Slice, join_names
from dicomseg.read.instance import Instance
from dicomseg.read.lattice import Lattice, fit_lattice, why_too_few
from dicomseg.read.predicates import distortion_rank
from dicomseg.read.slices import Unplaced, no_geometry_problem
from dicomseg.read.sorting import (
    CRITERIA,
    Part,
    RegularVolume,
    find_volumes,
    first_difference,
    lie_elsewhere,
)

APART_MM: Final = 10.0
"""Volumes of one size whose centres lie farther apart show different places: two slabs of a spine."""

ON_THE_LATTICE: Final = 0.25
"""Slices no farther from a place of the lattice, in slice spacings, continue it."""


def choose_volumes(
    parts: Sequence[Part], unplaced: Sequence[Unplaced]
) -> list[RegularVolume] | GeometryProblem:
    """Return the regular volumes, the preferred first; else why there is none, or no choice.

    Of several only those that are large enough count; a single part may be small.
    """
    results = [find_volumes(part) for part in parts]
    volumes = [v for r in results if not isinstance(r, GeometryProblem) for v in r]
    large = [v for v in volumes if why_too_few(v.lattice) is None]
    usable = sorted(large or (volumes if len(parts) == 1 else []), key=_preference)
    if not usable:
        flaw = results[0] if isinstance(results[0], GeometryProblem) else None
        return _flawed(parts, flaw, unplaced)
    return _ambiguous(usable) or usable


def _preference(found: RegularVolume) -> tuple[object, ...]:
    one = found.lattice.slices[0]
    instance = one.instance
    return (
        read_contrast(one.image_type, instance.complex_component).rank,
        -len(found.lattice.slices),
        -distortion_rank(replace(instance, image_type=one.image_type)),
        -(one.echo_time_ms or 0.0),
        -(instance.acquisition_number or 0),
        _later_first(instance.acquisition_date + instance.acquisition_time),
        instance.sop_instance_uid,
    )


def _later_first(text: str) -> tuple[int, ...]:
    """Sort key by which the later of two date-times of one form comes first."""
    return (*(-ord(c) for c in text), 1)


def _ambiguous(found: Sequence[RegularVolume]) -> GeometryProblem | None:
    """Refuse two volumes of one size in different places: neither is preferred."""
    first = found[0]
    for other in found[1:]:
        same_size = len(other.lattice.slices) == len(first.lattice.slices)
        as_good = _preference(other)[0] == _preference(first)[0]
        if (
            same_size
            and as_good
            and (lie_elsewhere(first.part, other.part) or _are_apart(first, other))
        ):
            criterion = first_difference(first.part, other.part)
            if criterion is not None and not criterion.place and _is_a_piece(first, other):
                return GeometryProblem(criterion.code, _in_pieces(other.part, criterion.what))
            code, what = (
                ("several-volumes", "position")
                if criterion is None
                else (criterion.code, criterion.what)
            )
            names = [join_names([s.name for s in f.lattice.slices]) for f in (first, other)]
            return GeometryProblem(
                code,
                f"two volumes of {len(first.lattice.slices)} slices that differ in {what}: {names[0]};"
                f" {names[1]}; send them as two series",
            )
    return None


def _are_apart(a: RegularVolume, b: RegularVolume) -> bool:
    centres = [np.mean([s.position for s in f.lattice.slices], axis=0) for f in (a, b)]
    return float(np.linalg.norm(centres[0] - centres[1])) > APART_MM


def _flawed(
    parts: Sequence[Part], flaw: GeometryProblem | None, unplaced: Sequence[Unplaced]
) -> GeometryProblem:
    """Report why there is no volume: what differs from the largest part, then the flaw of that part."""
    main = flaw or GeometryProblem("several-volumes", "no part of the series forms a volume")
    if unplaced:
        problem = no_geometry_problem(unplaced)
        return GeometryProblem(
            problem.code, f"{problem.text}; the other slices: {main.text}", main.missing_lps
        )
    if len(parts) == 1:
        return main
    criterion = first_difference(parts[0], parts[1]) or CRITERIA[0]
    names = [s.name for part in parts[1:] for s in part.slices]
    shown = criterion.shown(parts[0].slices[0])
    return GeometryProblem(
        criterion.code,
        f"{join_names(names)}: {criterion.what} differs from {shown}; the other slices: {main.text}",
        main.missing_lps,
    )


def find_hidden_slices(
    chosen: RegularVolume,
    found: Sequence[RegularVolume],
    parts: Sequence[Part],
    unplaced: Sequence[Unplaced],
) -> GeometryProblem | None:
    """Find slices of the volume among those that are set aside; None where there are none.

    They have no geometry but the size of the volume, or continue its lattice where it has no slice;
    and an object of many frames may be a piece of the volume.
    """
    first = chosen.lattice.slices[0].instance
    lost = [b for b in unplaced if _may_be_of_the_size_of(first, b.instance)]
    if lost and first.images_in_acquisition is None:
        return no_geometry_problem(lost)
    volumes_of_their_own = {id(s) for f in found for s in f.lattice.slices}
    for part in parts:
        criterion = first_difference(chosen.part, part)
        if criterion is None or criterion.place or lie_elsewhere(chosen.part, part):
            continue
        if any(f.part is part and _is_a_piece(chosen, f) for f in found):
            return GeometryProblem(criterion.code, _in_pieces(part, criterion.what))
        odd = [s for s in part.slices if id(s) not in volumes_of_their_own]
        beyond = [s.name for s in odd if _continues(chosen.lattice, s)]
        if beyond:
            return GeometryProblem(
                criterion.code,
                f"{join_names(beyond)}: {criterion.what} differs from the other slices, which they continue; correct it at the sender",
            )
    return None


def _in_pieces(part: Part, what: str) -> str:
    if part.slices[0].instance.frames > 1:
        return "one volume in several multi-frame objects; send it as one object or slice by slice"
    names = join_names([s.name for s in part.slices])
    return f"{names}: {what} differs from the other slices, with which they form one volume; correct it at the sender"


def _may_be_of_the_size_of(first: Instance, other: Instance) -> bool:
    return all(
        theirs in {None, ours}
        for ours, theirs in ((first.rows, other.rows), (first.columns, other.columns))
    )


def _is_a_piece(chosen: RegularVolume, other: RegularVolume) -> bool:
    """Whether two volumes are one that was cut in two."""
    instance = chosen.lattice.slices[0].instance
    slices = (*chosen.lattice.slices, *other.lattice.slices)
    return isinstance(fit_lattice(slices, (instance.rows or 0, instance.columns or 0)), Lattice)


def _continues(lattice: Lattice, one: Slice) -> bool:
    way = np.array(one.position) - lattice.origin
    place = float(way @ lattice.step / (lattice.step @ lattice.step))
    count = len(lattice.slices)
    if -0.5 < place < count - 0.5 or not -count < place < 2 * count:
        return False
    off = np.linalg.norm(way - round(place) * lattice.step) / np.linalg.norm(lattice.step)
    return bool(off <= ON_THE_LATTICE)
