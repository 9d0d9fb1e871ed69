"""One value over a patient's studies as an SVG picture: points with what they leave open, over the dates.

Presentation attributes only, no style and no script, so that a page with a strict content policy can show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from typing import Final

from dicomseg.compare.change import Reading
from dicomseg.compare.text import quantity, reading_text
from node.observe.followup import FollowUp

WIDTH, HEIGHT = 420, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 40, 34, 34
_INK, _SOFT, _LINE, _GRID = "#24292f", "#57606a", "#0969da", "#d8dee4"
_FONT: Final = 'font-family="sans-serif" font-size="12"'
_LEAST_GAP: Final = 84.0
"""Points between two dates that can both be read."""
_CAP: Final = 4.0


def plot(followup: FollowUp, name: str) -> str:
    """Return the picture of one value, by the name that it has in `result.json`.

    Bars reach over the expanded uncertainty or the range. A refused value is a cross at the bottom. Studies of which
    one has no date lie at equal distances.
    """
    readings = [visit.values.get(name) for visit in followup.visits]
    days = [visit.when for visit in followup.visits]
    across = _across(days)
    scale = _Scale(readings)
    unit = next((r.unit for r in readings if r is not None), "")
    parts = [_text(_LEFT, 18, name, _INK, "start")]
    for value in scale.ticks:
        y = scale.up(value)
        parts.append(_line(_LEFT, y, WIDTH - _RIGHT, y, _GRID))
        parts.append(_text(_LEFT - 8, y + 4, quantity(value, unit), _SOFT, "end"))
    parts += [
        _text(across[n], HEIGHT - 12, days[n] or "no date", _SOFT, "middle") for n in _shown(across)
    ]
    points = zip(across, readings, strict=True)
    given = [(x, scale.up(r.value)) for x, r in points if r is not None and r.value is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in given)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-dasharray="4 3"/>')
    parts += [_mark(x, reading, scale) for x, reading in zip(across, readings, strict=True)]
    label = escape(f"{name}: " + ", ".join(map(reading_text, readings)))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


class _Scale:
    """From values to points of the picture; a tenth is left free above and below what values leave open."""

    def __init__(self, readings: Sequence[Reading | None]) -> None:
        ends = [end for r in readings if r is not None for end in _ends(r)] or [0.0, 1.0]
        low, high = min(ends), max(ends)
        free = 0.1 * (high - low) or max(abs(high) * 0.1, 0.5)
        self.low, self.high = low - free, high + free

    @property
    def ticks(self) -> tuple[float, float, float]:
        """Three values that lie apart."""
        third = (self.high - self.low) / 4
        return (self.low + third, self.low + 2 * third, self.low + 3 * third)

    def up(self, value: float) -> float:
        """Return the distance of a value from the top."""
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high - value) / (self.high - self.low)


def _ends(reading: Reading) -> tuple[float, ...]:
    """Return the lowest and highest value that a reading leaves open; () where it was refused."""
    if reading.value is None:
        return ()
    below, above = reading.reach(upwards=False) or 0.0, reading.reach(upwards=True) or 0.0
    return (reading.value - below, reading.value + above)


def _across(days: Sequence[str]) -> list[float]:
    """Return where studies lie from left to right: by date, or evenly where one is unknown or all are of one day."""
    width = WIDTH - _LEFT - _RIGHT - 40
    numbers = [date.fromisoformat(day).toordinal() for day in days if day]
    if len(numbers) < len(days) or len(set(numbers)) < 2:
        numbers = list(range(len(days)))
    span = (numbers[-1] - numbers[0]) or 1
    return [_LEFT + 20 + width * (n - numbers[0]) / span for n in numbers]


def _shown(across: Sequence[float]) -> list[int]:
    """Return which dates are written: the last, the first, and others with room between."""
    shown: list[int] = []
    for n in (len(across) - 1, *range(len(across) - 1)):
        if all(abs(across[n] - across[m]) >= _LEAST_GAP for m in shown):
            shown.append(n)
    return shown


def _mark(x: float, reading: Reading | None, scale: _Scale) -> str:
    if reading is None:
        return ""
    if reading.value is None:
        y = HEIGHT - _BOTTOM - _CAP
        return _line(x - _CAP, y - _CAP, x + _CAP, y + _CAP, _SOFT) + _line(
            x - _CAP, y + _CAP, x + _CAP, y - _CAP, _SOFT
        )
    low, high = (scale.up(end) for end in _ends(reading))
    bar = _line(x, low, x, high, _LINE)
    caps = "".join(_line(x - _CAP, y, x + _CAP, y, _LINE) for y in (low, high))
    return f'{bar}{caps}<circle cx="{x:.1f}" cy="{scale.up(reading.value):.1f}" r="3.5" fill="{_LINE}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {place} {_FONT}>{escape(text)}</text>"
