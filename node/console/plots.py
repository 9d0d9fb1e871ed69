"""Plots as SVG: curves of a training, and Bland–Altman. Readable without colour: by dashes, shapes and words.

Presentation attributes only, no style and no script, so that a page with a strict content policy can show them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from node.console.words import harmless
from node.models.case_figures import Agreement

WIDTH, HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 40, 40
_INK, _SOFT, _GRID, _ACCENT = "#1b2328", "#56636b", "#d7dde1", "#1f4e6b"
_FONT: Final = 'font-family="sans-serif" font-size="12"'
_DASHES: Final = ("", "7 4", "2 4")
_LEGEND_GAP: Final = 132
RADIUS: Final = 4.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot and its word in the legend."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Span:
    """From values to the picture, over the marks of an axis."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value lies; one outside lies on the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def nice_marks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values, at most so many, that lie at equal distances of 1, 2 or 5 × 10ⁿ from `low` to `high`.

    The first is at or below `low`, the last at or above `high`. low < high.
    """
    for power in range(math.floor(math.log10(high - low)) - 1, 20):
        for lead in (1, 2, 5):
            step = lead * 10.0**power
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            if last - first < most:
                return [round(n * step, 12) for n in range(first, last + 1)]
    return [low, high]


def curve_plot(
    title: str,
    lines: Sequence[Line],
    steps: int | None,
    *,
    least: float = 0.0,
    most: float | None = None,
) -> str:
    """Return lines over the steps of a training; `steps`: of the recipe, so that the axis holds its end from the start.

    least, most: the vertical axis holds at least these.
    """
    drawn = [line for line in lines if line.points]
    last = max((x for line in drawn for x, _ in line.points), default=0.0)
    values = [y for line in drawn for _, y in line.points]
    low, high = min([least, *values]), max([*values, *(() if most is None else (most,))], default=1.0)  # fmt: skip
    across = _axis(0.0, max(last, float(steps or 0), 1.0), _LEFT, WIDTH - _RIGHT)
    up = _axis(low, high if high - low > 1e-6 else low + 1.0, HEIGHT - _BOTTOM, _TOP)
    parts = _frame(title, across, up, "step")
    for n, line in enumerate(drawn):
        parts += _drawn_line(line, n, across[0], up[0])
    words = "; ".join(f"{line.name} {line.points[-1][1]:.3f} at step {line.points[-1][0]:g}" for line in drawn)  # fmt: skip
    return _svg(f"{title}: {words or 'nothing yet'}", parts)


def bland_altman_plot(
    title: str,
    points: Sequence[tuple[str, float, float]],
    found: Agreement,
    *,
    hollow: bool,
    reach: tuple[tuple[float, float], tuple[float, float]],
) -> str:
    """Return differences over means with bias (solid) and limits of agreement (dashed).

    points: (case, mean, difference) in mm. hollow: open diamonds instead of dots, to tell two models apart.
    reach: least and greatest mean, and difference, that the axes hold: two plots are then compared by eye.
    """
    across = _axis(*_apart(*reach[0]), _LEFT, WIDTH - _RIGHT)
    up = _axis(*_apart(*reach[1]), HEIGHT - _BOTTOM, _TOP)
    parts = _frame(f"{title}: automatic − reference, mm", across, up, "mean of both, mm")
    zero = up[0].at(0.0)
    parts.append(_stroke(_LEFT, zero, WIDTH - _RIGHT, zero, _SOFT, "1 3"))
    parts += [
        _dot(across[0].at(mean), up[0].at(difference), hollow=hollow, title=f"{case}: {difference:+.2f} mm")
        for case, mean, difference in points
    ]  # fmt: skip
    words = "no pair"
    if found.bias is not None:
        parts += _level(found.bias, f"bias {found.bias:+.2f}", "", up[0])
        words = f"{found.n} pairs, bias {found.bias:+.2f} mm"
    if found.limits is not None:
        for limit in found.limits:
            parts += _level(limit, f"{limit:+.2f}", "6 4", up[0])
        words += f", limits of agreement {found.limits[0]:+.2f} to {found.limits[1]:+.2f} mm"
    return _svg(f"{title}: {words}", parts)


def reach_of(
    groups: Iterable[Sequence[tuple[str, float, float]]], found: Iterable[Agreement]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return least and greatest mean, and difference with limits and zero, over all groups of points."""
    points = [p for group in groups for p in group]
    limits = [end for one in found if one.limits is not None for end in one.limits]
    means, differences = [m for _, m, _ in points] or [0.0], [d for _, _, d in points]
    return (min(means), max(means)), (min([0.0, *differences, *limits]), max([0.0, *differences, *limits]))  # fmt: skip


def _shown(text: str) -> str:
    """Return a text for the picture: escaped, and without signs that act."""
    return escape(str(harmless(text)))


# ---- parts -----------------------------------------------------------------------------------------


def _apart(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)


def _axis(low: float, high: float, start: float, end: float) -> tuple[Span, list[float]]:
    marks = nice_marks(low, high)
    return Span(marks[0], marks[-1], start, end), marks


def _frame(
    title: str, across: tuple[Span, list[float]], up: tuple[Span, list[float]], below: str
) -> list[str]:
    parts = [_words(_LEFT, 16, title, _INK, "start", bold=True)]
    for value in up[1]:
        y = up[0].at(value)
        parts.append(_stroke(_LEFT, y, WIDTH - _RIGHT, y, _GRID))
        parts.append(_words(_LEFT - 7, y + 4, f"{value:g}", _SOFT, "end"))
    parts += [_words(across[0].at(v), HEIGHT - 22, f"{v:g}", _SOFT, "middle") for v in across[1]]
    parts.append(_words((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, below, _SOFT, "middle"))
    return parts


def _drawn_line(line: Line, n: int, across: Span, up: Span) -> list[str]:
    places = [(across.at(x), up.at(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = f' stroke-dasharray="{_DASHES[n]}"' if _DASHES[n] else ""
    colour = (_ACCENT, _INK, _SOFT)[n]
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    if n or len(places) == 1:
        parts += [_dot(x, y, hollow=n == 1, title="") for x, y in places[-60:]]
    left = _LEFT + n * _LEGEND_GAP
    parts.append(_stroke(left, 29, left + 26, 29, colour, _DASHES[n], 2))
    if n:
        parts.append(_dot(left + 13, 29, hollow=n == 1, title=""))
    parts.append(_words(left + 32, 33, line.name, _INK, "start"))
    return parts


def _level(value: float, words: str, dash: str, up: Span) -> list[str]:
    y = up.at(value)
    # White below the words, so that a dot behind them does not make them unreadable.
    halo = f'<text x="{WIDTH - _RIGHT}" y="{y - 4:.1f}" text-anchor="end" {_FONT} fill="none" stroke="#fff" stroke-width="3">{_shown(words)}</text>'
    return [
        _stroke(_LEFT, y, WIDTH - _RIGHT, y, _INK, dash, 1.5),
        halo,
        _words(WIDTH - _RIGHT, y - 4, words, _INK, "end"),
    ]


def _dot(x: float, y: float, *, hollow: bool, title: str) -> str:
    inner = f"<title>{_shown(title)}</title>" if title else ""
    if hollow:
        r = RADIUS + 0.5
        path = (
            f"M{x - r:.1f},{y:.1f} L{x:.1f},{y - r:.1f} L{x + r:.1f},{y:.1f} L{x:.1f},{y + r:.1f} Z"
        )
        return f'<path d="{path}" fill="#fff" stroke="{_INK}" stroke-width="1.5">{inner}</path>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" fill="{_ACCENT}" fill-opacity="0.8">{inner}</circle>'


def _stroke(
    x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: float = 1
) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"{dashes}/>'


def _words(x: float, y: float, words: str, colour: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {_FONT}{weight}>{_shown(words)}</text>'


def _svg(label: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" class="curve" role="img" aria-label="{_shown(label)}">'
    return "\n".join([head, *parts, "</svg>"])
