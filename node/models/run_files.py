"""Read what trainings leave in their folders as if a stranger had written it: plain files of bounded size, checked values.

What is wrong is one sentence with the file's name, so that a page can say it in the file's place.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from node.errors import RunFileUnreadable

MOST_JSON: Final = 4_000_000
"""Bytes of a JSON file; results of a thousand cases have half as many."""
LONGEST_TEXT: Final = 300
LARGEST: Final = 1e9
MOST_ITEMS: Final = 5_000
"""Cases of a results file that are read, and folders of a place that are looked at."""


def read_bytes(file: Path, most: int, *, tail: bool = False) -> bytes:
    """Return the content of a file, or its last `most` bytes. Never waits for a pipe, never follows a link.

    Raises:
        RunFileUnreadable: there is none, it is no plain file, or it has more bytes than that.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(file, flags), "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise RunFileUnreadable(f"{file.name} is no plain file")
            if tail:
                opened.seek(max(0, about.st_size - most))
            content = opened.read(most + 1)
    except FileNotFoundError as error:
        raise RunFileUnreadable(f"{file.name} is not there") from error
    except (OSError, ValueError) as error:  # a link; a name with a zero byte
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RunFileUnreadable(f"{file.name} cannot be read: {reason}") from error
    if tail:
        return content[-most:]
    if len(content) > most:
        raise RunFileUnreadable(f"{file.name} is larger than {most / 1e6:g} MB, which no file of a training is")  # fmt: skip
    return content


def read_json(file: Path) -> Mapping[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        RunFileUnreadable: as `read_bytes`, or it holds something else.
    """
    raw = read_bytes(file, MOST_JSON)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RunFileUnreadable(f"{file.name} is damaged: no JSON") from error
    if not isinstance(content, dict):
        raise RunFileUnreadable(f"{file.name} is damaged: no JSON object")
    return content


def tail_lines(file: Path, most_bytes: int) -> list[str]:
    """Return the last lines of a log that are not empty; none where it cannot be read."""
    try:
        text = read_bytes(file, most_bytes, tail=True).decode("utf-8", "replace")
    except RunFileUnreadable:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def folders_of(place: Path) -> list[Path]:
    """Return the folders of a place by name; none where it cannot be read."""
    try:
        with os.scandir(place) as found:
            names = [entry.name for entry, _ in zip(found, range(MOST_ITEMS), strict=False)]
        return sorted(p for p in (place / n for n in names if not n.startswith(".")) if p.is_dir())
    except OSError:
        return []


# ---- values ----------------------------------------------------------------------------------------


def number(value: object) -> float | None:
    """Return a finite number of a plausible size; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and abs(found) <= LARGEST else None


def count(value: object) -> int | None:
    """Return a number of 0 or more without fraction; None for anything else."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text, cut where it is long; "" for anything else."""
    return value[:longest] if isinstance(value, str) else ""


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object, most: int = MOST_ITEMS) -> list[Any]:
    """Return the first elements of a list; none for anything else."""
    return value[:most] if isinstance(value, list) else []


def numbers(value: object, keys: Iterable[str]) -> dict[str, float]:
    """Return those of an object's entries that are numbers, of these keys."""
    found = {key: number(mapping(value).get(key)) for key in keys}
    return {key: one for key, one in found.items() if one is not None}
