"""The history as lines for a terminal: a table of the last runs, and a curve of small blocks per value (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.clock import local_time
from node.phantom.truth import NAMES
from node.store.selftest_history import SelftestRow

MOST: Final = 14
"""Runs in the table; the curves show more."""
LONGEST: Final = 60
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_LEAST_SPAN: Final = 0.1
"""Millimetres over which a curve rises from its lowest to its highest block, so that nothing is magnified noise."""


def trend_lines(rows: Sequence[SelftestRow]) -> list[str]:
    """Return the lines, 80 columns wide."""
    lines = [f"{'run':<17}{'':<9}" + "".join(f"{n:>7}" for n in NAMES) + f"{'drift':>8}{'error':>7}{'CPU s':>8}"]  # fmt: skip
    for row in rows[-MOST:]:
        values = "".join(f"{_mm(row.values_mm.get(n), 2):>7}" for n in NAMES)
        mark = "*" if row.reference else ""
        lines.append(
            f"{local_time(row.at):%Y-%m-%d %H:%M} {row.outcome + mark:<9}{values}{_mm(row.drift_mm, 3):>8}"
            f"{_mm(row.error_mm, 2):>7}{row.cpu_s:>8.1f}"
        )
    lines.append("* reference; values, drift from it and error against the truth in mm")
    for name in NAMES:
        values_mm = [v for r in rows[-LONGEST:] if (v := r.values_mm.get(name)) is not None]
        if len(values_mm) > 1:
            lines.append(f"{name:<5}{curve(values_mm)}  {min(values_mm):.2f} to {max(values_mm):.2f} mm")  # fmt: skip
    reasons = [r for r in rows[-MOST:] if r.reason]
    lines += [f"{local_time(r.at):%Y-%m-%d %H:%M}: {r.reason}" for r in reasons]
    return lines


def curve(values: Sequence[float]) -> str:
    """Return one block for each value, as high as it is between the lowest and the highest."""
    low, span = min(values), max(max(values) - min(values), _LEAST_SPAN)
    return "".join(_BLOCKS[round((v - low) / span * (len(_BLOCKS) - 1))] for v in values)


def _mm(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
