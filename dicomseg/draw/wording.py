"""Sentences of the page: values, refusals, the rows of "For the plan", and warnings in a surgeon's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from dicomseg.draw.plan import FORKS, Plan
from dicomseg.draw.texts import Texts
from dicomseg.measure.measure import corridor_grade
from dicomseg.measure.value_text import round_value
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.result import FurtherValue, Measurement, Measurements, Refusal, Result
from dicomseg.segmentation import Finding
from dicomseg.structures import STRUCTURES, Side, StructureId

UNSURE_SHARE: Final = 0.25
UNSURE_MM: Final = 1.0
"""A value that is less certain than both is named in the warnings."""
_UNSURE: Final = "outline_unsure"
_AT_PLANE_MM: Final = 3.0
_TOUCH_MM: Final = 0.5
_SIDES: Final[tuple[Side, ...]] = ("left", "right")
_GAPS: Final[dict[StructureId, str]] = {"aa": "artery_disc", "ivc": "vein_disc"}


def value_text(m: Measurement | FurtherValue, texts: Texts) -> str:
    """Return the value with its uncertainty or range, or that there is none."""
    rounded = round_value(m)
    if rounded is None:
        return texts.not_measured
    unit = texts.units["mm" if isinstance(m, Measurement) else m.unit]
    if rounded.ends is not None:
        low, high = rounded.ends
        return texts.value_range.format(value=rounded.value, low=low, high=high, unit=unit)
    if rounded.sd is not None:
        return texts.value_sd.format(value=rounded.value, sd=rounded.sd, unit=unit)
    return texts.value.format(value=rounded.value, unit=unit)


def between_text(m: Measurement, texts: Texts) -> str:
    """Return what a measurement lies on or between."""
    start, end = (texts.ends.get(name, name) for name in (m.start, m.end))
    return start if start == end else texts.between.format(start=start, end=end)


def refusal_text(refusal: Refusal, texts: Texts) -> str:
    """Return why a value is absent, in a surgeon's words where the code has a sentence."""
    sentence = texts.refusals.get(refusal.code)
    if sentence is None:
        return refusal.text
    named = next((s.id for s in STRUCTURES if s.label in refusal.text), None)
    if named is None:
        return refusal.text if "{structure}" in sentence else sentence
    return sentence.format(structure=texts.structures[named])


def grade_text(oc: Measurement, texts: Texts) -> str:
    """Return window class and grade of the corridor, "" where it was not measured."""
    if oc.value_mm is None:
        return ""
    grade = corridor_grade(oc.value_mm)
    near = texts.plan.near_limit if "grade_borderline" in oc.flags else ""
    return texts.plan.grade.format(window=texts.plan.grades[grade], grade=grade) + near


def plan_rows(plan: Plan, result: Result, texts: Texts) -> list[tuple[str, str]]:
    """Return names and answers of "For the plan"; what cannot be answered is left out."""
    words, rows = texts.plan, list[tuple[str, str]]()
    grade = grade_text(result.measurements.main["OC"], texts)
    if grade:
        rows.append((words.corridor, grade))
    if plan.corridor is not None:
        degrees = f"{plan.corridor.direction_deg:.0f}"
        rows.append((words.direction, words.direction_value.format(degrees=degrees)))
    if result.measurements.plane is None:
        return rows
    found = result.measurements
    rows += [(words.psoas[side], _psoas_text(found, side, texts)) for side in _SIDES]
    rows += _area_rows(found, texts)
    rows += [
        (words.forks[name], _fork_text(found.further[key], texts)) for name, key in FORKS.items()
    ]
    return rows + _vessel_rows(found, texts) + _disc_rows(found, texts)


def _has(m: Measurement | FurtherValue) -> bool:
    return m.refusal is None


def _psoas_text(found: Measurements, side: Side, texts: Texts) -> str:
    """Where a psoas lies; why that is not known where neither its front nor its back is."""
    words = texts.plan
    front, back = found.further[f"psoas_front_{side}"], found.further[f"psoas_zone_{side}"]
    parts = []
    if front.value is not None:
        ahead = words.psoas_front if front.value > 0 else words.psoas_behind
        at = words.psoas_level if abs(front.value) < _TOUCH_MM else ahead
        parts.append(at.format(value=_unsigned(front, texts)))
    if back.category is not None:
        parts.append(words.psoas_zone.format(zone=back.category))
    if parts or front.refusal is None:
        return ", ".join(parts)
    special = {"cut_by_image": words.psoas_cut, "no_section": words.psoas_absent}
    return special.get(front.refusal.code) or refusal_text(front.refusal, texts)


def _unsigned(m: FurtherValue, texts: Texts) -> str:
    """The value without its sign, which a sentence gives in words."""
    if m.value is None or m.value >= 0:
        return value_text(m, texts)
    ends = None if m.range is None else (-m.range[1], -m.range[0])
    return value_text(replace(m, value=-m.value, range=ends), texts)


def _area_rows(found: Measurements, texts: Texts) -> list[tuple[str, str]]:
    areas = {side: found.further[f"psoas_area_{side}"] for side in _SIDES}
    if not any(_has(area) for area in areas.values()):
        return []
    sides = {side: value_text(area, texts) for side, area in areas.items()}
    return [(texts.plan.psoas_area, texts.plan.psoas_area_value.format(**sides))]


def _fork_text(fork: FurtherValue, texts: Texts) -> str:
    words = texts.plan
    if fork.refusal is not None:
        special = {
            "fork_above_view": words.fork_beyond_above,
            "fork_below_view": words.fork_beyond_below,
            "fork_unclear": words.fork_unclear,
        }
        return special.get(fork.refusal.code) or refusal_text(fork.refusal, texts)
    height_mm = fork.value or 0.0
    if abs(height_mm) <= _AT_PLANE_MM:
        return words.fork_at
    sentence = words.fork_above if height_mm > 0 else words.fork_below
    return sentence.format(value=_unsigned(fork, texts))


def _vessel_rows(found: Measurements, texts: Texts) -> list[tuple[str, str]]:
    words, rows = texts.plan, list[tuple[str, str]]()
    edge, cover = found.further["vein_left_edge"], found.further["vessel_cover"]
    if edge.value is not None:
        reaches = words.left_vein_reaches.format(value=value_text(edge, texts))
        rows.append((words.left_vein, reaches if edge.value >= _TOUCH_MM else words.left_vein_not))
    if _has(cover):
        rows.append((words.cover, words.cover_value.format(value=value_text(cover, texts))))
    gaps = [_gap_text(name, m, texts) for name, key in _GAPS.items() if _has(m := found.extra[key])]
    return [*rows, (words.gap, " · ".join(gaps))] if gaps else rows


def _gap_text(name: StructureId, m: Measurement, texts: Texts) -> str:
    words = texts.plan
    touches = m.value_mm is not None and m.value_mm < _TOUCH_MM
    sentence = words.gap_touches if touches else words.gap_value
    return sentence.format(name=words.gap_names[name], value=value_text(m, texts))


def _disc_rows(found: Measurements, texts: Texts) -> list[tuple[str, str]]:
    words, rows = texts.plan, list[tuple[str, str]]()
    heights = {
        key: round_value(found.extra[f"disc_height_{place}"])
        for key, place in (("front", "anterior"), ("middle", "middle"), ("back", "posterior"))
    }
    known = {key: rounded for key, rounded in heights.items() if rounded is not None}
    if len(known) == len(heights):
        sd = max(
            (rounded.sd or "" for rounded in known.values()), key=lambda text: float(text or 0)
        )
        numbers = {key: rounded.value for key, rounded in known.items()}
        rows.append((words.height, words.height_value.format(**numbers, sd=sd)))
    for key, name, sentence in (
        ("disc_angle", words.disc_angle, words.disc_angle_value),
        ("segmental_angle", words.segment, words.segment_value),
        ("dural_sac_area", words.sac, words.sac_value),
    ):
        if _has(found.further[key]):
            rows.append((name, sentence.format(value=value_text(found.further[key], texts))))
    return rows


def warning_texts(result: Result, texts: Texts) -> list[str]:
    """Return the warnings in the order of their weight: values, then level and series; each once."""
    main = result.measurements.main
    by_flag: dict[str, list[str]] = {}
    for name in MAIN_MEASUREMENTS:
        m = main[name]
        if m.value_mm is None:
            continue
        flags = [f for f in m.flags if f in texts.warnings.flags]
        if not flags and _is_unsure(m, m.value_mm):
            flags = ["unsure"]
        for flag in flags:
            by_flag.setdefault(flag, []).append(name)
    for key, what in _named_positions(texts).items():
        position = result.measurements.further.get(key)
        if position is not None and _UNSURE in position.flags:
            by_flag.setdefault(_UNSURE, []).append(what)
    out = [texts.warnings.flags[f].format(what=", ".join(n)) for f, n in by_flag.items()]
    out += [f"{text}." for text in result.level.warnings]
    out += _finding_texts(result.warnings, result.level.warnings, texts)
    return list(dict.fromkeys(out))


def _named_positions(texts: Texts) -> dict[str, str]:
    """Positions that "For the plan" names, by the name of their value."""
    words = texts.plan
    psoas = {f"psoas_front_{side}": words.psoas[side] for side in _SIDES}
    return (
        psoas
        | {key: words.forks[of] for of, key in FORKS.items()}
        | {"vein_left_edge": words.left_vein}
    )


def _is_unsure(m: Measurement, value_mm: float) -> bool:
    low, high = m.range_mm or (0.0, 0.0)
    unsure_mm = (high - low) / 4 if m.range_mm is not None else m.uncertainty_mm or 0.0
    return unsure_mm > UNSURE_MM and unsure_mm > UNSURE_SHARE * value_mm


def _finding_texts(
    findings: Iterable[Finding], level_warnings: Sequence[str], texts: Texts
) -> list[str]:
    """One sentence for all structures of one code; a code without a sentence keeps its own text."""
    structures: dict[str, list[str]] = {}
    other: list[str] = []
    for finding in findings:
        if finding.code in texts.warnings.left_out or finding.text in level_warnings:
            continue
        if finding.code not in texts.warnings.findings:
            other.append(finding.text)
            continue
        named = structures.setdefault(finding.code, [])
        if finding.structure is not None:
            named.append(texts.structures[finding.structure])
    return [
        texts.warnings.findings[code].format(what=", ".join(dict.fromkeys(names)))
        for code, names in structures.items()
    ] + other
