"""`GeometryProblem`: why slices are not one regular grid; and how messages name slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicomseg.read.instance import Instance, Triplet

_NAMED: Final = 8
"""Slices named one by one in a message before it says how many more."""


@dataclass(frozen=True, slots=True)
class GeometryProblem:
    """Why there is no regular grid: a stable code, a sentence with numbers, and LPS mm of missing slices."""

    code: str
    text: str
    missing_lps: tuple[Triplet, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice: a classic instance, or a frame of one.

    name: as in messages. frame: index from 0, None for an object of one frame. row, column: the two
    triplets of Image Orientation. spacing: mm between rows, between columns.
    """

    name: str
    instance: Instance
    frame: int | None
    position: Triplet
    row: Triplet
    column: Triplet
    spacing: tuple[float, float]
    echo_time_ms: float | None
    image_type: tuple[str, ...] = ()
    stack: str = ""
    temporal_position: int | None = None
    acquisition_number: int | None = None


def join_names(names: Sequence[str], separator: str = ", ") -> str:
    """Join the first names and say how many more there are."""
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return separator.join(names[:_NAMED]) + rest


def both_names(one: Slice, other: Slice) -> str:
    """Name two slices, e.g. "instances 30 and 32"."""
    word = "instance "
    if one.name.startswith(word) and other.name.startswith(word):
        return f"{word.strip()}s {one.name.removeprefix(word)} and {other.name.removeprefix(word)}"
    return f"{one.name} and {other.name}"


def display_name(instance: Instance) -> str:
    """Name an object as in messages: by its instance number, else by its UID."""
    number = instance.instance_number
    return f"instance {number}" if number is not None else f"object {instance.sop_instance_uid}"
