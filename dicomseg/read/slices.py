"""Instances to slices: every classic object and every frame with the header of an image plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomseg.read.geometry_problem import GeometryProblem, Slice, display_name, join_names
from dicomseg.read.instance import Instance

SQUARE_TOLERANCE: Final = 5e-3
"""How far the two directions of an image may be from unit length and from a right angle: noise of 2e-4
in every cosine makes 1e-3. What it means for the slices is judged in mm by `dicomseg.read.lattice`."""

MAX_COORDINATE_MM: Final = 10_000.0
"""No image plane lies farther from the scanner's centre, and no spacing is larger: a hostile header."""


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An object or frame without position, orientation, pixel spacing or size."""

    name: str
    instance: Instance


def to_slices(given: Sequence[Instance]) -> tuple[list[Slice], list[Unplaced]]:
    """Return all slices and frames with a geometry, and what has none."""
    slices: list[Slice] = []
    unplaced: list[Unplaced] = []
    for instance in given:
        if instance.frames == 1:
            named = [(display_name(instance), _slice(instance))]
        elif len(instance.frame_positions_lps) != instance.frames:
            named = [(f"{display_name(instance)} with {instance.frames} frames", None)]
        else:
            of = f"{display_name(instance)} " if len(given) > 1 else ""
            named = [
                (f"{of}frame {n + 1}", _frame(instance, n, of)) for n in range(instance.frames)
            ]
        unplaced += [Unplaced(name, instance) for name, one in named if one is None]
        slices += [one for _, one in named if one is not None]
    return slices, unplaced


def _slice(instance: Instance) -> Slice | None:
    position, row, column = instance.position_lps, instance.row_lps, instance.column_lps
    if position is None or row is None or column is None or instance.spacing_mm is None:
        return None
    plane = Slice(
        display_name(instance),
        instance,
        None,
        position,
        row,
        column,
        instance.spacing_mm,
        instance.echo_time_ms,
        instance.image_type,
        temporal_position=instance.temporal_position,
        acquisition_number=instance.acquisition_number,
    )
    return plane if _is_plane(plane) else None


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
    temporal, acquisition = (
        instance.frame_repetitions[n] if instance.frame_repetitions else (None, None)
    )
    plane = Slice(
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
        temporal,
        acquisition,
    )
    return plane if _is_plane(plane) else None


def _is_plane(one: Slice) -> bool:
    """Whether the header is that of an image plane in a scanner."""
    if max(abs(v) for v in (*one.position, *one.spacing)) > MAX_COORDINATE_MM:
        return False
    if not (one.instance.rows and one.instance.columns):
        return False
    if max(abs(v) for v in (*one.row, *one.column)) > 1 + SQUARE_TOLERANCE:
        return False
    gram = np.array([one.row, one.column]) @ np.array([one.row, one.column]).T
    return bool(np.all(np.abs(gram - np.eye(2)) <= SQUARE_TOLERANCE))


def no_geometry_problem(unplaced: Sequence[Unplaced]) -> GeometryProblem:
    """Report objects without a geometry."""
    return GeometryProblem(
        "no-geometry",
        f"{join_names([b.name for b in unplaced])}: position, orientation, pixel spacing or size is missing or invalid",
    )
