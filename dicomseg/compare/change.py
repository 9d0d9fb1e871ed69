"""Two values of one patient compared: the change, and whether it exceeds what both values leave open. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicomseg.measurement_names import MODEL_UNKNOWN

COVERAGE_FACTOR: Final = 2.0
"""Expanded uncertainty in standard uncertainties: it covers the true value in about 95 of 100 cases
(docs/explanation/uncertainty.md)."""

REASONS: Final[Mapping[str, str]] = {
    "absent_before": "the earlier result has no such value",
    "absent_now": "the later result has no such value",
    "refused_before": "refused in the earlier study",
    "refused_now": "refused in the later study",
    "other_unit": "the results give it in different units",
    "other_definition": "the results define it differently",
    "other_structure": "measured from or to another structure, or on the other side",
    "other_level": "the results name different levels",
    "same_images": "both studies hold the images of one acquisition",
    "level_doubtful": "the level of one study is doubtful: it may be another disc",
    "uncertainty_unknown": "one value has no uncertainty",
    "model_part_unknown": "beyond what is known, and the model's part of the uncertainty is not known",
}
"""Why there is no change, or no verdict on it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a result. Numbers are in `unit`.

    uncertainty: standard (k = 1). limits: smallest and largest value instead of it. measured: method, side and both
    ends, which a value to compare with must share. complete: the model's part of the uncertainty is known. refusal:
    its code, "" where there is a value.
    """

    value: float | None
    unit: str
    uncertainty: float | None = None
    limits: tuple[float, float] | None = None
    measured: tuple[str, str, str, str] = ("", "", "", "")
    complete: bool = True
    refusal: str = ""

    def reach(self, *, upwards: bool) -> float | None:
        """Return how far above or below its value the true one may lie; None where that is unknown."""
        if self.value is None:
            return None
        if self.limits is not None:
            low, high = self.limits
            return max(0.0, high - self.value if upwards else self.value - low)
        return None if self.uncertainty is None else COVERAGE_FACTOR * self.uncertainty


@dataclass(frozen=True, slots=True)
class Change:
    """Later less earlier value, in their unit.

    limit: what the change has to exceed. exceeds: None where that is not decided. reason: a code of `REASONS` where
    change or verdict is missing, else "".
    """

    change: float | None = None
    limit: float | None = None
    exceeds: bool | None = None
    reason: str = ""


def readings(result: Mapping[str, Any]) -> dict[str, Reading]:
    """Return the values of a `result.json`, main ones first; what is not as schema 1 says is left out."""
    found: dict[str, Reading] = {}
    for part, name in ((p, n) for p in ("measurements", "extra") for n in mapping(result.get(p))):
        content = mapping(mapping(result[part])[name])
        if content and name not in found:
            found[str(name)] = _reading(content)
    return found


def level_of(result: Mapping[str, Any]) -> tuple[str, bool]:
    """Return name and counting rule of the level as one text, and whether a warning doubts it."""
    level = mapping(result.get("level"))
    warnings = result.get("warnings")
    codes = [mapping(w).get("code") for w in warnings] if isinstance(warnings, list) else []
    return f"{level.get('name')}: {level.get('rule')}", bool(
        level.get("warnings")
    ) or "level" in codes


def compare(before: Reading | None, after: Reading | None, *, doubtful: bool = False) -> Change:
    """Return the change of one value and whether it exceeds what both leave open.

    Between two standard uncertainties the limit is √((2 u₁)² + (2 u₂)²). A range is no standard deviation: where one
    value has one, the change exceeds only if both intervals lie apart. doubtful: one of the levels is.
    """
    reason = _why_apart(before, after)
    if reason or before is None or after is None or before.value is None or after.value is None:
        return Change(reason=reason)
    change = after.value - before.value
    limit = _limit(before, after, upwards=change > 0)
    if doubtful:
        return Change(change, limit, None, "level_doubtful")
    if limit is None:
        return Change(change, None, None, "uncertainty_unknown")
    exceeds = abs(change) > limit
    if exceeds and not (before.complete and after.complete):
        return Change(change, limit, None, "model_part_unknown")
    return Change(change, limit, exceeds)


def _limit(before: Reading, after: Reading, *, upwards: bool) -> float | None:
    first, second = before.reach(upwards=upwards), after.reach(upwards=not upwards)
    if first is None or second is None:
        return None
    if before.limits is None and after.limits is None:
        return math.hypot(first, second)
    return first + second


def _why_apart(before: Reading | None, after: Reading | None) -> str:
    """Return why two values have no difference, "" where they have one."""
    for reading, when in ((before, "before"), (after, "now")):
        if reading is None:
            return f"absent_{when}"
        if reading.value is None:
            return f"refused_{when}" if reading.refusal else f"absent_{when}"
    assert before is not None  # noqa: S101 for the type checker: the loop returned
    assert after is not None  # noqa: S101
    if before.unit != after.unit:
        return "other_unit"
    if before.measured[0] != after.measured[0]:
        return "other_definition"
    return "" if before.measured == after.measured else "other_structure"


def _reading(content: Mapping[str, Any]) -> Reading:
    """Read one value: of a further one the common fields, else those of a length."""
    unit = content.get("unit")
    end = "" if isinstance(unit, str) else "_mm"
    refusal = mapping(content.get("refusal")).get("code")
    value = None if refusal else number(content.get(f"value{end}"))
    uncertainty = number(content.get(f"uncertainty{end}"))
    measured = [content.get(name) for name in ("method", "side", "from", "to")]
    method, side, start, to = (text if isinstance(text, str) else "" for text in measured)
    return Reading(
        value,
        unit if isinstance(unit, str) else "mm",
        uncertainty if uncertainty is not None and uncertainty >= 0 else None,
        _limits(content.get(f"range{end}")),
        (method, side, start, to),
        MODEL_UNKNOWN not in str(content.get("uncertainty_note", "")),
        str(refusal) if refusal else "",
    )


def _limits(content: object) -> tuple[float, float] | None:
    ends = numbers(content)
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] <= ends[1] else None


def numbers(content: object) -> tuple[float, ...]:
    """Return a list of finite numbers; () for anything else."""
    found = [number(v) for v in content] if isinstance(content, list) else []
    return tuple(v for v in found if v is not None) if None not in found else ()


def number(value: object) -> float | None:
    """Return a finite number; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mapping(content: object) -> Mapping[str, Any]:
    """Return a JSON object; {} for anything else."""
    return content if isinstance(content, Mapping) else {}
