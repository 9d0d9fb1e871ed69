"""`draw_followup`: one A4 page with the four values over the dates, and a table of all changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from dicomseg.compare.change import Change, Reading
from dicomseg.compare.comparison import ComparedStep, Comparison
from dicomseg.compare.text import change_text, quantity, reading_text
from dicomseg.draw import layout
from dicomseg.draw.followup_texts import FollowUpTexts
from dicomseg.draw.fonts import can_show
from dicomseg.draw.heading import Heading
from dicomseg.draw.layout import LEFT, RIGHT, Box
from dicomseg.draw.looks import FAINT, INK, PALE_AMBER, PALE_RED, RED, SOFT
from dicomseg.draw.page import Page
from dicomseg.draw.sheet import Sheet, page_style
from dicomseg.draw.texts import Texts
from dicomseg.measurement_names import MAIN_MEASUREMENTS

_PLOTS: Final = tuple(
    Box(LEFT + 12 + n % 2 * 98.0, 34.0 + n // 2 * 45.0, 78.0, 33.0) for n in range(4)
)
_STUDIES_TOP: Final = 124.0
_ROW: Final = 3.9
_MOST_STUDIES: Final = 5
"""Studies that are listed one by one; all are in the plots and in the report."""
_MOST_ROWS: Final = 30
_FOOT_TOP: Final = 280.0
_LEAST_GAP: Final = 0.2
"""Share of a plot's width between two dates that can both be read."""
_SHOWN_SIZE: Final = 6.6


@dataclass(frozen=True, slots=True, eq=False)
class FollowUpPage:
    """Everything on the page. result: id of the follow-up."""

    comparison: Comparison
    heading: Heading
    result: str
    texts: Texts
    words: FollowUpTexts


def draw_followup(inputs: FollowUpPage) -> Page:
    """Draw the page; the same input gives the same pixels and bytes."""
    with page_style():
        sheet = Sheet()
        _head(sheet, inputs)
        for box, name in zip(_PLOTS, MAIN_MEASUREMENTS, strict=True):
            _plot(sheet, box, name, inputs)
        top = _studies(sheet, inputs)
        _table(sheet, top, inputs)
        _foot(sheet, inputs)
    return Page(sheet.pixels(), sheet.pdf(inputs.words.title))


def _head(sheet: Sheet, inputs: FollowUpPage) -> None:
    heading, texts, words = inputs.heading, inputs.texts, inputs.words
    sheet.text(LEFT, layout.HEAD_TITLE, words.title, 17, weight="bold")
    badge = layout.HEAD_BADGE
    sheet.box(badge, PALE_RED, RED, is_round=True)
    base = badge.bottom - 1.25
    sheet.text(badge.x + badge.width / 2, base, texts.badge, 7, color=RED, weight="bold", ha="center")  # fmt: skip
    count = words.subtitle.format(count=len(inputs.comparison.studies))
    sheet.text(badge.x + badge.width + 2.6, base, count, 7.5, color=SOFT)
    name = next((n for n in heading.names if n and can_show(n)), texts.anonymous)
    shown = heading.patient_id if can_show(heading.patient_id) else "?"
    newest = heading.study_date or inputs.comparison.newest.when
    identity = words.identity.format(id=shown, born=heading.born or "–", study=newest)
    first, second, _ = layout.HEAD_LINES
    sheet.fitted(RIGHT, first, name, 11, layout.HEAD_WIDTHS[0], ha="right", weight="bold")
    sheet.fitted(RIGHT, second, identity, 7.5, layout.HEAD_WIDTHS[1], ha="right", color=SOFT)
    sheet.rule(layout.HEAD_RULE, INK, 0.9)


# ---- plots ---------------------------------------------------------------------------------------


def _plot(sheet: Sheet, box: Box, name: str, inputs: FollowUpPage) -> None:
    """Draw one value over the dates, each with what it leaves open; a cross at the bottom where it was refused."""
    studies = inputs.comparison.studies
    title = inputs.words.values.get(name, name)
    sheet.fitted(box.x, box.y - 2.0, title, 7.6, box.width, weight="bold")
    axes = sheet.axes(box)
    days = [date.fromisoformat(s.when).toordinal() for s in studies]
    readings = [s.values.get(name) for s in studies]
    span = (days[-1] - days[0]) or 1
    across = [0.08 + 0.84 * (d - days[0]) / span for d in days]
    given = [
        (x, r, r.value) for x, r in zip(across, readings, strict=True) if r is not None and r.value is not None
    ]  # fmt: skip
    axes.set_xlim(0, 1)
    low, high = _limits([r for _, r, _ in given])
    axes.set_ylim(low, high)
    axes.plot([x for x, *_ in given], [value for *_, value in given], "--", color=SOFT, lw=0.8)
    for x, reading, value in given:
        ends = _ends(reading)
        axes.plot([x, x], ends, color=INK, lw=1.4, solid_capstyle="butt")
        for end in ends:
            axes.plot([x - 0.012, x + 0.012], [end, end], color=INK, lw=1.0)
        axes.plot([x], [value], "o", color=INK, markersize=4.2)
    for x in across:
        if x not in {at for at, *_ in given}:
            axes.plot([x], [low + 0.08 * (high - low)], "x", color=RED, markersize=5)
    unit = next((r.unit for _, r, _ in given), "mm")
    ticks = [low + (high - low) * share for share in (0.15, 0.5, 0.85)] if given else []
    axes.set_yticks(ticks, [quantity(t, unit) for t in ticks], fontsize=5.8, color=SOFT)
    shown = _dates(across)
    labels = [studies[n].when for n in shown]
    axes.set_xticks([across[n] for n in shown], labels, fontsize=5.8, color=SOFT)
    axes.tick_params(length=2, color=FAINT)
    axes.grid(axis="y", color=FAINT, lw=0.5)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _ends(reading: Reading) -> tuple[float, float]:
    """Lowest and highest value that a reading leaves open."""
    value = reading.value or 0.0
    below, above = (reading.reach(upwards=up) or 0.0 for up in (False, True))
    return value - below, value + above


def _limits(readings: Sequence[Reading]) -> tuple[float, float]:
    ends = [end for r in readings for end in _ends(r)] or [0.0, 1.0]
    free = 0.15 * (max(ends) - min(ends)) or max(abs(max(ends)) * 0.1, 0.5)
    return min(ends) - free, max(ends) + free


def _dates(across: Sequence[float]) -> list[int]:
    """Return which dates are written: the newest, the first, and others with room between."""
    shown: list[int] = []
    for n in (len(across) - 1, *range(len(across) - 1)):
        if all(abs(across[n] - across[m]) >= _LEAST_GAP for m in shown):
            shown.append(n)
    return sorted(shown)


# ---- studies and table ---------------------------------------------------------------------------


def _studies(sheet: Sheet, inputs: FollowUpPage) -> float:
    """List the studies and what lies between them; returns where the table begins."""
    words, comparison = inputs.words, inputs.comparison
    sheet.text(LEFT, _STUDIES_TOP, words.studies, 8.4, weight="bold")
    studies = comparison.studies
    listed = [
        words.study.format(when=s.when, scanner=s.scanner if can_show(s.scanner) else "?", model=s.model)
        for s in studies
    ]  # fmt: skip
    if len(studies) > _MOST_STUDIES:
        more = words.more.format(count=len(studies) - _MOST_STUDIES + 1)
        listed = [listed[0], more, *listed[-_MOST_STUDIES + 2 :]]
    for step in comparison.steps:
        notes = "".join(f" · {words.notes[code]}" for code in step.notes)
        first, last = studies[step.before].when, comparison.newest.when
        listed.append(words.step.format(first=first, last=last, days=step.days, notes=notes))
    y = _STUDIES_TOP
    for line in listed:
        y += 3.6
        sheet.fitted(LEFT, y, line, 6.6, RIGHT - LEFT, color=SOFT)
    return y + 6.0


def _table(sheet: Sheet, top: float, inputs: FollowUpPage) -> None:
    """Write every value: last but one, newest, change, what it has to exceed, verdict; then the change since the first."""
    comparison, words = inputs.comparison, inputs.words
    before, *longer = comparison.steps
    earlier, newest = comparison.studies[before.before], comparison.newest
    value, change, limit, verdict = words.heads
    columns = [(LEFT, value, "left"), (80.0, earlier.when, "right"), (107.0, newest.when, "right"),
               (122.0, change, "right"), (141.0, limit, "right"), (144.0, verdict, "left")]  # fmt: skip
    if longer:
        first = comparison.studies[longer[0].before].when
        columns.append((RIGHT, words.since_first.format(first=first), "right"))
    for x, text, side in columns:
        sheet.text(x, top, text, 6.4, weight="bold", ha=side)
    sheet.rule(top + 1.3, INK, 0.6)
    names = comparison.names
    row = min(_ROW, (_FOOT_TOP - 4.0 - top - 2.0) / max(len(names[:_MOST_ROWS]), 1))
    for n, name in enumerate(names[:_MOST_ROWS]):
        _row(sheet, top + 1.4 + (n + 1) * row, name, row, (before, *longer), inputs)


def _row(
    sheet: Sheet,
    y: float,
    name: str,
    height: float,
    steps: Sequence[ComparedStep],
    inputs: FollowUpPage,
) -> None:
    comparison, words = inputs.comparison, inputs.words
    before, *longer = steps
    earlier = comparison.studies[before.before].values.get(name)
    newest = comparison.newest.values.get(name)
    change = before.changes.get(name, Change())
    unit = (newest or earlier or Reading(None, "mm")).unit
    if change.exceeds:
        sheet.box(Box(LEFT - 1, y - height + 1.1, RIGHT - LEFT + 2, height), PALE_AMBER)
    weight = "bold" if name in MAIN_MEASUREMENTS else "normal"
    sheet.fitted(LEFT, y, words.values.get(name, name), _SHOWN_SIZE, 44.0, weight=weight)
    for x, reading in ((80.0, earlier), (107.0, newest)):
        sheet.fitted(x, y, _value(reading, words), _SHOWN_SIZE, 25.5, ha="right")
    sheet.fitted(122.0, y, change_text(change, unit), _SHOWN_SIZE, 15.5, ha="right", weight="bold")
    limit = "–" if change.limit is None else quantity(change.limit, unit, finer=True)
    sheet.fitted(141.0, y, limit, _SHOWN_SIZE, 16.0, ha="right", color=SOFT)
    style = {"weight": "bold"} if change.exceeds else {"color": SOFT}
    width = 34.0 if longer else RIGHT - 144.0
    sheet.fitted(144.0, y, _verdict(change, words), _SHOWN_SIZE, width, **style)
    if longer:
        since = longer[0].changes.get(name, Change())
        style = {"weight": "bold"} if since.exceeds else {"color": SOFT}
        mark = " !" if since.exceeds else ""
        text = f"{change_text(since, unit)}{mark}"
        sheet.fitted(RIGHT, y, text, _SHOWN_SIZE, 21.0, ha="right", **style)


def _value(reading: Reading | None, words: FollowUpTexts) -> str:
    if reading is None or reading.value is None:
        return words.refused if reading is not None else "–"
    if reading.limits is None:
        return reading_text(reading)
    low, high = (quantity(v, reading.unit) for v in reading.limits)
    return f"{quantity(reading.value, reading.unit)} ({low.split()[0]}–{high})"


def _verdict(change: Change, words: FollowUpTexts) -> str:
    if change.reason:
        return words.reasons[change.reason]
    return words.exceeds if change.exceeds else words.within


def _foot(sheet: Sheet, inputs: FollowUpPage) -> None:
    heading, words = inputs.heading, inputs.words
    sheet.rule(_FOOT_TOP - 1.5)
    for n, note in enumerate(words.footnotes):
        sheet.fitted(LEFT, _FOOT_TOP + 1.4 + n * layout.FOOT_ROW, note, 5.2, RIGHT - LEFT, color=SOFT)  # fmt: skip
    made = words.made.format(created=heading.created, result=inputs.result[:12])
    sheet.fitted(LEFT, _FOOT_TOP + 10.0, heading.model, 5.8, 120, color=SOFT)
    sheet.fitted(RIGHT, _FOOT_TOP + 10.0, made, 5.8, 68, color=SOFT, ha="right")
    sheet.text(LEFT, _FOOT_TOP + 13.6, inputs.texts.disclaimer, 6.4, color=RED, weight="bold")
