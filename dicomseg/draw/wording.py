"""Sentences of the page: values, refusals, the rows of "For the plan", and warnings in a surgeon's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from dicomseg.draw.forks import Fork
from dicomseg.draw.plan import Plan, PsoasPosition
from dicomseg.draw.texts import Texts
from dicomseg.measure.measure import corridor_grade
from dicomseg.measure.value_text import round_value
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.result import Measurement, Refusal, Result
from dicomseg.segmentation import Finding
from dicomseg.structures import STRUCTURES, Side, StructureId

UNSURE_SHARE: Final = 0.25
UNSURE_MM: Final = 1.0
"""A value that is less certain than both is named in the warnings."""
_NO_SIDES: Final = "orientation_unexpected"
_AT_PLANE_MM: Final = 3.0
_TOUCH_MM: Final = 0.5
_SIDES: Final[tuple[Side, ...]] = ("left", "right")
_VESSELS: Final[tuple[StructureId, ...]] = ("aa", "ivc")


def value_text(m: Measurement, texts: Texts) -> str:
    """Return the value with its uncertainty or range, or that there is none."""
    rounded = round_value(m)
    if rounded is None:
        return texts.not_measured
    if rounded.ends is not None:
        low, high = rounded.ends
        return texts.value_range.format(value=rounded.value, low=low, high=high)
    if rounded.sd is not None:
        return texts.value_sd.format(value=rounded.value, sd=rounded.sd)
    return texts.value.format(value=rounded.value)


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
    if result.measurements.plane is None or plan.disc is None:
        return rows
    refusals = [m.refusal.code for m in result.measurements.main.values() if m.refusal is not None]
    if _NO_SIDES in refusals:  # nothing beside the disc can be named
        return rows + _disc_rows(plan, result, texts)
    rows += [(words.psoas[side], _psoas_text(plan.psoas.get(side), texts)) for side in _SIDES]
    rows += [
        (words.forks[name], _fork_text(plan.forks[name], texts))
        for name in _VESSELS
        if name in plan.forks
    ]
    if plan.vein_left_mm is not None:
        reaches = words.left_vein_reaches.format(mm=f"{plan.vein_left_mm:.0f}")
        text = reaches if plan.vein_left_mm >= _TOUCH_MM else words.left_vein_not
        rows.append((words.left_vein, text))
    if plan.cover is not None:
        rows.append((words.cover, words.cover_value.format(percent=f"{100 * plan.cover:.0f}")))
    if plan.gaps_mm:
        gaps = (_gap_text(name, mm, texts) for name, mm in plan.gaps_mm.items())
        rows.append((words.gap, " · ".join(gaps)))
    return rows + _disc_rows(plan, result, texts)


def _disc_rows(plan: Plan, result: Result, texts: Texts) -> list[tuple[str, str]]:
    words, rows = texts.plan, list[tuple[str, str]]()
    heights = {
        key: m.value_mm
        for key, place in (("front", "anterior"), ("middle", "middle"), ("back", "posterior"))
        if (m := result.measurements.extra.get(f"disc_height_{place}")) is not None
        and m.value_mm is not None
    }
    if len(heights) == 3:
        rounded = {key: f"{mm:.0f}" for key, mm in heights.items()}
        rows.append((words.height, words.height_value.format(**rounded)))
    if plan.wedge_deg is not None:
        rows.append((words.wedge, words.wedge_value.format(degrees=f"{plan.wedge_deg:.0f}")))
    if plan.sac_mm2 is not None:
        rows.append((words.sac, words.sac_value.format(area=f"{plan.sac_mm2:.0f}")))
    return rows


def _psoas_text(position: PsoasPosition | None, texts: Texts) -> str:
    words = texts.plan
    if position is None:
        return words.psoas_absent
    if position.is_cut:
        return words.psoas_cut
    mm = abs(position.front_mm)
    if mm < _TOUCH_MM:
        where = words.psoas_level
    else:
        sentence = words.psoas_front if position.front_mm > 0 else words.psoas_behind
        where = sentence.format(mm=f"{mm:.0f}")
    area = f"{position.area_mm2:.0f}"
    return words.psoas_zone.format(position=where, zone=position.zone, area=area)


def _fork_text(fork: Fork, texts: Texts) -> str:
    words = texts.plan
    if fork.place != "at":
        beyond = {"above": words.fork_beyond_above, "below": words.fork_beyond_below}
        return beyond.get(fork.place, words.fork_unclear)
    if abs(fork.height_mm) <= _AT_PLANE_MM:
        return words.fork_at
    sentence = words.fork_above if fork.height_mm > 0 else words.fork_below
    return sentence.format(mm=f"{abs(fork.height_mm):.0f}")


def _gap_text(name: StructureId, mm: float, texts: Texts) -> str:
    words = texts.plan
    sentence = words.gap_touches if mm < _TOUCH_MM else words.gap_value
    return sentence.format(name=words.gap_names[name], mm=f"{mm:.0f}")


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
    out = [texts.warnings.flags[f].format(what=", ".join(n)) for f, n in by_flag.items()]
    out += [f"{text}." for text in result.level.warnings]
    out += _finding_texts(result.warnings, result.level.warnings, texts)
    return list(dict.fromkeys(out))


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
