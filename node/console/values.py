"""Values of a result as rows of a table: with uncertainty, doubts and what was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicomseg.measurement_names import TITLES
from node.observe.text import value_text

_DIGITS: Final = {"mm": 1, "mm2": 0, "deg": 1, "ratio": 2}
_UNITS: Final = {"mm2": "mm²", "deg": "°", "ratio": ""}


@dataclass(frozen=True, slots=True)
class Value:
    """One value. text: with uncertainty or range; "–" where it was refused. doubts: codes of flags."""

    name: str
    title: str
    text: str
    side: str
    doubts: tuple[str, ...]
    note: str
    refusal: str


@dataclass(frozen=True, slots=True)
class Values:
    """What a result says. main: the values of the report; further: the others."""

    main: tuple[Value, ...]
    further: tuple[Value, ...]
    warnings: tuple[str, ...]
    model: str
    level: str


def values_of(result: Mapping[str, Any]) -> Values | None:
    """Return the values of a `result.json`; None where it holds none or is another file."""
    try:
        main = tuple(_values(result["measurements"]))
        names = {v.name for v in main}
        further = tuple(v for v in _values(result.get("extra", {})) if v.name not in names)
        model, level = result["model"], result["level"]
        return Values(
            main, further, tuple(str(w["text"]) for w in result["warnings"]),
            f"{model['name']} {model['version']}", f"{level['name']}, confidence {level['confidence']:.2f}",
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _values(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Value]:
    for name, one in found.items():
        refusal = one.get("refusal")
        yield Value(
            name, TITLES.get(name, name.replace("_", " ")), _text(one), str(one.get("side") or ""),
            tuple(str(flag).replace("_", " ") for flag in one.get("flags", ())),
            str(one.get("note") or ""), _refusal(refusal),
        )  # fmt: skip


def _text(one: Mapping[str, Any]) -> str:
    """Return value, uncertainty and unit."""
    if "value_mm" in one:
        text = value_text(one, uncertain=True)
        return text if text == "–" else f"{text} mm"
    value, unit = one["value"], str(one.get("unit", ""))
    if value is None:
        return "–"
    digits = _DIGITS.get(unit, 1)
    shown = _UNITS.get(unit, unit)
    gap = "" if shown in {"", "°"} else " "
    category = f", {one['category']}" if one.get("category") else ""
    if one.get("range") is not None:
        low, high = one["range"]
        return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f}){gap}{shown}{category}"
    doubt = one.get("uncertainty")
    spread = "" if doubt is None else f" ± {doubt:.{digits}f}"
    return f"{value:.{digits}f}{spread}{gap}{shown}{category}"


def _refusal(refusal: object) -> str:
    if isinstance(refusal, Mapping):
        return str(refusal.get("text") or refusal.get("code") or "")
    return str(refusal or "")
