"""Words and signs of the pages: states with a shape, ages, texts of strangers without what would act."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from node.clock import at_text
from node.journal.states import DeliveryState, JobState, SeriesState
from node.observe.text import state_text


class Mark(NamedTuple):
    """How a state is shown beside its word: a shape, and the class of its colour."""

    shape: str
    kind: str


_BUSY: Final = Mark("◐", "busy")
_GOOD: Final = Mark("✓", "good")
_QUIET: Final = Mark("–", "quiet")
_LOOK: Final = Mark("!", "look")
_BAD: Final = Mark("✕", "bad")

MARKS: Final[Mapping[str, Mark]] = MappingProxyType(
    {
        SeriesState.RECEIVING: _BUSY,
        SeriesState.COMPLETE: _BUSY,
        SeriesState.SELECTED: _BUSY,
        SeriesState.PROCESSING: _BUSY,
        SeriesState.ENCODED: _BUSY,
        SeriesState.DELIVERED: _GOOD,
        SeriesState.SKIPPED: _QUIET,
        SeriesState.SUPERSEDED: _QUIET,
        SeriesState.PURGED: _QUIET,
        SeriesState.INCOMPLETE: _LOOK,
        SeriesState.FAILED: _BAD,
        SeriesState.QUARANTINED: _BAD,
        DeliveryState.PENDING: _BUSY,
        DeliveryState.SENT: _BUSY,
        DeliveryState.WAITING: _LOOK,
        DeliveryState.CONFIRMED: _GOOD,
        DeliveryState.DEAD: _BAD,
        JobState.QUEUED: _BUSY,
        JobState.RUNNING: _BUSY,
        JobState.PROPOSED: _LOOK,
        JobState.PROMOTED: _GOOD,
        JobState.REJECTED: _QUIET,
        JobState.CANCELLED: _QUIET,
        "held": _LOOK,
        "accepted": _GOOD,
        "replaced": _QUIET,
        "refused": _BAD,
        "unknown": _QUIET,
    }
)


def mark(state: str) -> Mark:
    """Return how a state is shown."""
    return MARKS.get(state, _QUIET)


def word(state: str) -> str:
    """Return a state as people read it."""
    return state_text(state)


def harmless(value: object) -> object:
    """Return a text without signs that are not seen or that turn its direction; anything else as it is.

    Names and descriptions come from headers: a change of direction would let one look like another.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co"} and c != "\n" else c for c in value)  # fmt: skip


def age(text: str, now: float) -> str:
    """Return how long ago a moment was. text: ISO 8601."""
    seconds = max(0.0, now - datetime.fromisoformat(text).timestamp())
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"


def moment(at: float | None) -> str:
    """Return a moment, in seconds since 1970, as ISO 8601; "" for None and 0."""
    return at_text(at) if at else ""


def clock_text(text: str) -> str:
    """Return an ISO 8601 moment as people read it."""
    return text[:19].replace("T", " ")


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"
