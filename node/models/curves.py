"""The curve of a training: what `curve.jsonl` in its run folder holds (`training/fit/curve.py` writes it)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dicomseg.structures import STRUCTURES
from node.models.run_files import count, mapping, number, numbers, read_bytes

CURVE: Final = "curve.jsonl"
MOST_BYTES: Final = 4_000_000
"""Of a longer curve the end is read; that of a training of 100,000 steps has half as many."""
_IDS: Final = tuple(s.id for s in STRUCTURES)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One report. loss: mean of the last steps. The validation's values are None and empty where there was none."""

    step: int
    loss: float | None
    seconds: float | None = None
    validation_loss: float | None = None
    dice: Mapping[str, float] | None = None

    @property
    def mean_dice(self) -> float | None:
        """Mean over the structures."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else None

    @property
    def lowest(self) -> tuple[str, float] | None:
        """The structure with the lowest Dice, and that."""
        return min(self.dice.items(), key=lambda item: item[1]) if self.dice else None


@dataclass(frozen=True, slots=True)
class Curve:
    """Reports with rising steps. unread: lines that are no report. cut: the beginning was left out."""

    points: tuple[CurvePoint, ...]
    unread: int = 0
    cut: bool = False


def read_curve(run: Path) -> Curve:
    """Return the curve of a run folder. Raises `RunFileUnreadable`."""
    raw = read_bytes(run / CURVE, MOST_BYTES, tail=True)
    cut = len(raw) == MOST_BYTES
    return parse_curve(raw.partition(b"\n")[2] if cut else raw, cut=cut)


def parse_curve(raw: bytes, *, cut: bool = False) -> Curve:
    """Return the reports of these lines; a line that is being written, at the end, is left out.

    A step that comes again replaces what follows it: the run resumed from an earlier checkpoint.
    """
    lines = raw.split(b"\n")
    points: list[CurvePoint] = []
    unread = 0
    for line in lines[:-1]:
        point = _point(line)
        if point is None:
            unread += bool(line.strip())
            continue
        while points and points[-1].step >= point.step:
            points.pop()
        points.append(point)
    return Curve(tuple(points), unread, cut)


def _point(line: bytes) -> CurvePoint | None:
    try:
        values = mapping(json.loads(line))
    except (ValueError, RecursionError):
        return None
    step = count(values.get("step"))
    if step is None:
        return None
    dice = {k: v for k, v in numbers(values.get("dice"), _IDS).items() if 0 <= v <= 1}
    return CurvePoint(
        step,
        number(values.get("loss")),
        number(values.get("seconds")),
        number(values.get("validation_loss")),
        dice or None,
    )


def thinned(values: Sequence[T], most: int) -> list[T]:
    """Return at most so many of the values, at equal distances, the first and the last among them. most: 2 or more."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(n * step)] for n in range(most)]
