"""The lower part of the page: values beside published ranges, "For the plan", warnings, sources."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from dicomseg.draw import layout
from dicomseg.draw.layout import LEFT, RIGHT, STRIP, Box
from dicomseg.draw.looks import (
    AMBER,
    BAND,
    FAINT,
    INK,
    NIGHT,
    PALE,
    PALE_AMBER,
    RED,
    SOFT,
    VALUES,
)
from dicomseg.draw.plan import Plan
from dicomseg.draw.references import REFERENCES
from dicomseg.draw.sheet import Sheet
from dicomseg.draw.texts import Texts
from dicomseg.draw.wording import (
    between_text,
    grade_text,
    plan_rows,
    refusal_text,
    value_text,
    warning_texts,
)
from dicomseg.measure.measure import GRADE_MM
from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.result import Measurement, Result


def draw_values(sheet: Sheet, result: Result, texts: Texts) -> None:
    """Write the four values, what they lie between, and where they lie in the published range."""
    top = layout.TABLE_TOP
    sheet.rule(top - 1.4, INK, 0.9)
    sheet.text(LEFT, top + 3.4, texts.values_heading, 8.4, weight="bold")
    right = STRIP.x + STRIP.width
    sheet.text(right, top + 3.4, texts.reference_heading, 5.6, color=SOFT, ha="right")
    chip_width, chip_height = layout.CHIP
    for n, name in enumerate(MAIN_MEASUREMENTS):
        m = result.measurements.main[name]
        y = top + layout.TABLE_FIRST + n * layout.TABLE_ROW
        sheet.box(Box(LEFT, y - 3.5, chip_width, chip_height), VALUES[name], INK)
        middle = LEFT + chip_width / 2
        sheet.text(middle, y - 0.45, name, 6.4, weight="bold", color=NIGHT, ha="center")
        title = texts.measurements[name]
        sheet.fitted(layout.NAME_X, y - 0.9, title, 7.6, layout.NAME_WIDTH, weight="bold")
        _value(sheet, m, y, texts)
        _between(sheet, name, m, y, texts)
        _strip(sheet, name, m, y)


def _between(sheet: Sheet, name: MeasurementName, m: Measurement, y: float, texts: Texts) -> None:
    """Write what a value lies between, and the corridor's grade, or why there is none; in two lines where one is full."""
    parts = [between_text(m, texts)]
    if name == "OC" and m.value_mm is not None:
        parts.append(grade_text(m, texts))
    if m.refusal is not None:
        parts = [refusal_text(m.refusal, texts)]
    width = layout.VALUE_X - layout.NAME_X
    lines = sheet.wrapped(" · ".join(parts), 6.0, width)
    if len(lines) > 1:
        lines = [line for part in parts for line in sheet.wrapped(part, 6.0, width)]
    colour = SOFT if m.refusal is None else RED
    first, step = layout.BETWEEN
    for n, line in enumerate(lines):
        sheet.fitted(layout.NAME_X, y + first + n * step, line, 6.0, width, color=colour)


def _value(sheet: Sheet, m: Measurement, y: float, texts: Texts) -> None:
    colour = INK if m.refusal is None else RED
    text = value_text(m, texts)
    width = layout.VALUE_X - layout.NAME_X - layout.NAME_WIDTH - 1.0
    sheet.fitted(layout.VALUE_X, y - 0.9, text, 9.0, width, weight="bold", color=colour, ha="right")


def _strip(sheet: Sheet, name: MeasurementName, m: Measurement, y: float) -> None:
    """Draw the published mean ± SD and range as a strip, and the value with twice its uncertainty."""
    ref = REFERENCES[name]
    axes = sheet.axes(Box(STRIP.x, y - 3.6, STRIP.width, STRIP.height))
    axes.set_xlim(0, ref.axis_mm)
    axes.set_ylim(0, 1)
    axes.axis("off")
    level = [0.42, 0.42]
    low = max(ref.mean_mm - ref.sd_mm, 0.0)
    axes.plot([0, ref.axis_mm], level, color=FAINT, lw=0.8)
    bar = Rectangle((low, 0.2), ref.mean_mm + ref.sd_mm - low, 0.44, facecolor=BAND)
    axes.add_patch(bar)
    axes.plot([ref.least_mm, ref.most_mm], level, color=SOFT, lw=1.0)
    axes.plot([ref.mean_mm] * 2, [0.2, 0.64], color=SOFT, lw=1.0)
    if name == "OC":
        for limit in GRADE_MM:
            axes.plot([limit] * 2, [0.02, 0.82], color=INK, lw=0.6, ls=(0, (2, 1.5)))
    if m.value_mm is not None:
        spread = 2 * (m.uncertainty_mm or 0.0)
        ends = m.range_mm or (m.value_mm - spread, m.value_mm + spread)
        axes.plot(np.clip(ends, 0, ref.axis_mm), level, color=INK, lw=2.2, solid_capstyle="butt")
        at = min(m.value_mm, ref.axis_mm)
        axes.plot(
            [at],
            [0.42],
            "D",
            color=VALUES[name],
            markeredgecolor=INK,
            markeredgewidth=0.8,
            markersize=5.2,
            clip_on=False,
        )
    for mm in (ref.least_mm, ref.most_mm):
        axes.text(mm, -0.05, f"{mm:.0f}", fontsize=4.8, color=SOFT, ha="center", va="top")


def draw_plan_rows(sheet: Sheet, plan: Plan, result: Result, texts: Texts) -> None:
    """Write "For the plan"."""
    sheet.text(layout.PLAN_X, layout.TABLE_TOP + 3.4, texts.plan.heading, 8.4, weight="bold")
    for n, (name, answer) in enumerate(plan_rows(plan, result, texts)):
        y = layout.TABLE_TOP + layout.PLAN_FIRST + n * layout.PLAN_ROW
        sheet.text(layout.PLAN_X, y, name, 6.4, color=SOFT)
        sheet.fitted(layout.PLAN_VALUE_X, y, answer, 6.4, RIGHT - layout.PLAN_VALUE_X)


def draw_warnings(sheet: Sheet, result: Result, texts: Texts) -> None:
    """Write the warnings, and always that the patient was measured supine."""
    words = texts.warnings
    notes = warning_texts(result, texts)
    lines: list[str] = []
    shown = 0
    for note in notes or [words.none]:
        wrapped = sheet.wrapped(f"• {note}", 6.7, layout.WARNINGS_WIDTH)
        is_last = shown == len(notes) - 1
        room = layout.WARNINGS_LINES - len(lines) - (0 if is_last else 1)
        if len(wrapped) > room and notes:
            break
        lines += wrapped
        shown += 1
    if notes and shown < len(notes):
        lines.append("• " + words.more.format(count=len(notes) - shown))
    lines += sheet.wrapped(f"• {words.supine}", 6.7, layout.WARNINGS_WIDTH)
    top, height = layout.WARNINGS_TOP, 6.6 + layout.WARNINGS_ROW * len(lines)
    fill, edge = (PALE_AMBER, AMBER) if notes else (PALE, SOFT)
    sheet.box(Box(LEFT, top, RIGHT - LEFT, height), fill)
    sheet.box(Box(LEFT, top, 1.1, height), edge)
    heading = words.heading if notes else words.heading_none
    sheet.text(LEFT + 4, top + 4.3, heading, 7.6, weight="bold")
    for n, line in enumerate(lines):
        sheet.text(LEFT + 4, top + 8.1 + n * layout.WARNINGS_ROW, line, 6.7)


def draw_foot(sheet: Sheet, result: Result, model: str, made: str, texts: Texts) -> None:
    """Write sources, level, model and the disclaimer."""
    top = layout.FOOT_TOP
    sheet.rule(top - 1.5)
    confidence = f"{result.level.confidence:.2f}"
    notes = (*texts.footnotes, texts.level.format(confidence=confidence))
    for n, note in enumerate(notes):
        sheet.fitted(LEFT, top + 1.4 + n * layout.FOOT_ROW, note, 5.2, RIGHT - LEFT, color=SOFT)
    sheet.fitted(LEFT, top + 12.4, model, 5.8, 120, color=SOFT)
    sheet.fitted(RIGHT, top + 12.4, made, 5.8, 68, color=SOFT, ha="right")
    sheet.text(LEFT, top + 16.0, texts.disclaimer, 6.4, color=RED, weight="bold")
