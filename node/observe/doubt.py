"""What speaks against one result, each in words and with a weight; pure.

The weights order a list, no more: a level that may be another disc makes every value wrong, a value that is not given
needs a person, a flag of one value needs a look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicomseg.compare.change import Change, Reading, level_of, mapping, number, readings
from dicomseg.compare.text import change_text, quantity
from dicomseg.measurement_names import MAIN_MEASUREMENTS

SURE: Final = 0.8
"""Confidence of the level from which it is no matter of doubt; below 0.5 the result itself warns."""
WIDE_MM: Final = 4.0
"""A value that leaves open so much above or below it: twice what the flag `outline_unsure` begins at."""
_UNREADABLE, _LEVEL_WARNED, _REFUSED, _CHANGED, _MAY_HAVE_CHANGED, _WIDE, _WARNED, _FLAGGED = (
    200.0, 50.0, 25.0, 15.0, 10.0, 15.0, 10.0, 5.0,
)  # fmt: skip
_OF_CODE: Final[Mapping[str, float]] = {"vessel_side_uncertain": 40.0, "cut_by_image": 2.0}
"""Warnings that weigh another than most: sides make two values wrong, a cut structure its volume alone."""
_ELSEWHERE: Final = frozenset(
    {"level", "header_cleaned", "frame_of_reference_made", "pictures_missing"}
)
"""Warnings that the level covers, or that do not concern the values."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One matter. code: stable name. weight: 0 and more."""

    code: str
    weight: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal."""
        return {"code": self.code, "weight": round(self.weight, 2), "text": self.text}


def doubts_of(
    result: Mapping[str, Any], changes: Mapping[str, Change] | None = None
) -> tuple[Doubt, ...]:
    """Return what speaks against a result, heaviest first.

    result: `result.json`. changes: of its values since the patient's study before; None where there is none.
    """
    values = readings(result)
    if not values:
        return (Doubt("unreadable", _UNREADABLE, "its values cannot be read"),)
    found = [*_level(result), *_warnings(result), *_values(result, values)]
    found += _changes(changes or {}, values)
    return tuple(sorted(found, key=lambda doubt: -doubt.weight))


def total(doubts: tuple[Doubt, ...]) -> float:
    """Return by how much a result is in doubt: the sum of the weights."""
    return round(sum(doubt.weight for doubt in doubts), 2)


def _level(result: Mapping[str, Any]) -> Iterator[Doubt]:
    level, (_, is_doubtful) = mapping(result.get("level")), level_of(result)
    confidence = number(level.get("confidence"))
    known = 0.0 if confidence is None else confidence
    if known >= SURE and not is_doubtful:
        return
    text = f"the level may be another disc: confidence {known:.2f}"
    notes = [str(w) for w in _listed(level.get("warnings")) if "confidence" not in str(w)]
    yield Doubt(
        "level",
        max(100.0 * (1.0 - known), _LEVEL_WARNED if is_doubtful else 0.0),
        "; ".join([text, *notes]),
    )


def _warnings(result: Mapping[str, Any]) -> Iterator[Doubt]:
    for entry in map(mapping, _listed(result.get("warnings"))):
        code = str(entry.get("code", ""))
        if code not in _ELSEWHERE and entry.get("severity", "warning") == "warning":
            weight = _OF_CODE.get(code, _WARNED)
            yield Doubt(code or "warning", weight, str(entry.get("text") or code))


def _values(result: Mapping[str, Any], values: Mapping[str, Reading]) -> Iterator[Doubt]:
    entries = mapping(result.get("measurements"))
    for name in MAIN_MEASUREMENTS:
        entry, reading = mapping(entries.get(name)), values.get(name)
        if reading is None or reading.value is None:
            why = mapping(entry.get("refusal")).get("text") or "no value"
            yield Doubt("refused", _REFUSED, f"{name} is not given: {why}")
            continue
        reach = max(reading.reach(upwards=up) or 0.0 for up in (True, False))
        if reach >= WIDE_MM:
            open_mm = quantity(reach, reading.unit)
            yield Doubt(
                "wide", _WIDE * min(reach / WIDE_MM, 2.0), f"{name} is known to ±{open_mm} only"
            )
        for flag in _listed(entry.get("flags")):
            yield Doubt("flag", _FLAGGED, f"{name}: {str(flag).replace('_', ' ')}")


def _changes(changes: Mapping[str, Change], values: Mapping[str, Reading]) -> Iterator[Doubt]:
    for name in MAIN_MEASUREMENTS:
        change = changes.get(name)
        if change is None or change.limit is None:
            continue
        if not change.exceeds and change.reason != "model_part_unknown":
            continue
        unit = values[name].unit if name in values else "mm"
        limit = quantity(change.limit, unit, finer=True)
        moved = change_text(change, unit)
        text = f"{name} changed by {moved} since the patient's study before, more than {limit}"
        if change.exceeds:
            yield Doubt("change", _CHANGED, text)
        else:
            yield Doubt(
                "change", _MAY_HAVE_CHANGED, f"{text}; what the model adds to that is not known"
            )


def _listed(content: object) -> list[Any]:
    return content if isinstance(content, list) else []
