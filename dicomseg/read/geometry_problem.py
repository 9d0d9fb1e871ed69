"""What keeps slices from being one regular grid: `GeometryProblem`, and the slices it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicomseg.read.instance import Instance

Point = tuple[float, float, float]

_NAMED: Final = 8
"""Slices named one by one in a message before it says how many more."""


@dataclass(frozen=True, slots=True)
class GeometryProblem:
    """Why there is no regular grid: a stable code, a sentence with numbers, where slices are missing."""

    code: str
    text: str
    missing_lps: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice: a classic instance, or a frame of one.

    name: as in messages. frame: index from 0, None for an object of one frame. row, column: the two
    triplets of Image Orientation. spacing: mm between rows, between columns.
    """

    name: str
    instance: Instance
    frame: int | None
    position: Point
    row: Point
    column: Point
    spacing: tuple[float, float]
    echo_time_ms: float | None
    image_type: tuple[str, ...] = ()
    stack: str = ""
    temporal_position: int | None = None
    acquisition_number: int | None = None


def join_names(names: Sequence[str]) -> str:
    """Join the first names and say how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def display_name(instance: Instance) -> str:
    """How messages name an object."""
    number = instance.instance_number
    return f"instance {number}" if number is not None else f"object {instance.sop_instance_uid}"
