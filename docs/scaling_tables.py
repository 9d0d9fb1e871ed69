"""Tables of `docs/scaling.md`, from `docs/scaling.json` and the numbers that the simulation is fed with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import scaling_times as t

NUMBERS: Final = Path(__file__).resolve().parent / "scaling.json"
"""What `docs/scaling.py` found."""

PRICES: Final = {"core-hour": 0.04, "card-hour": 1.0, "gb-month": 0.02}
"""Prices in any currency, examples only: options of `docs/scaling.py`."""

_PEAK: Final = max(t.HOURS) / sum(t.HOURS)
"""Share of a day's studies in its busiest hour."""
_VOLUMES: Final = (50, 200, 1000, 5000)
_DELIVERED_DAYS, _SKIPPED_DAYS = 90, 14
"""`[retention]` of the tables of disk and cost."""
_DISK_MB_S: Final = 100.0
"""Assumed rate at which a disk takes what is written."""
_MACHINES: Final = (
    ("1 box, 2 cores", 2, 0),
    ("1 box, 8 cores", 8, 0),
    ("1 box, 8 cores, 1 GPU", 8, 1),
)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def times() -> str:
    """Render every number with its source."""
    rows = [
        (name, f"{number.value:g} {number.unit}".strip(), number.source)
        for name, number in t.NUMBERS.items()
    ]
    return table(("number", "value", "source"), rows)


def setups(found: Mapping[str, Any]) -> str:
    """Render the most studies a day and ages of every setup."""
    volumes = list(found["setups"][0]["ages"])
    heads = ["setup", "most a day", f"{found['slow_slot_s']:.0f} s a study"]
    heads += [f"{int(volume):,} a day: p50, p99, worst" for volume in volumes]
    rows = []
    for line in found["setups"]:
        cells = [line["name"], *(_most(line[key]) for key in ("most", "most_slow"))]
        for volume in volumes:
            ages = line["ages"][volume]
            cells.append(" · ".join(seconds(ages[key]) for key in ("p50", "p99", "worst")))
        rows.append(cells)
    return table(heads, rows)


def _most(number: int | None) -> str:
    """Return a number of studies; a dash where it was not simulated."""
    return "–" if number is None else f"{number:,}"


def seconds(value: float) -> str:
    """Return a time as people say it: 4.6 s, 12 min, 3.1 h."""
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def limits(found: Mapping[str, Any]) -> str:
    """Render what one study needs of each part, and at how many studies a day that part is full in the busiest hour."""
    incoming = t.SERIES_MB.value + t.OTHERS_MB.value
    written = incoming + t.RESULT_MB.value
    per_core = _all_slots(found)
    parts = (
        ("network of 100 Mbit/s, incoming", f"{incoming:g} MB", incoming * 8 / 100),
        ("one slot of two cores", f"{found['slot_s']:g} s", found["slot_s"]),
        ("disk, 100 MB/s (assumed)", f"{written:g} MB", written / _DISK_MB_S),
        ("four slots of two cores", f"{found['slot_s']:g} s", found["slot_s"] / 4),
        ("receiving", f"{t.OBJECTS:g} objects", found["receive_s"]),
        ("network of 1 Gbit/s, incoming", f"{incoming:g} MB", incoming * 8 / 1000),
        ("delivery, each destination", f"{found['deliver_s']:g} s", found["deliver_s"]),
        ("network of 1 Gbit/s, results", f"{t.RESULT_MB.value:g} MB", t.RESULT_MB.value * 8 / 1000),
    )
    rows = [
        (name, need, f"{busy_s:.2f} s", f"{rounded(3600 / busy_s / _PEAK):,}")
        for name, need, busy_s in sorted(parts, key=lambda part: -part[2])
    ]
    rows.append(("every core of a box of 8", f"{per_core:.1f} core s", f"{per_core / 8:.2f} s",
                 f"{rounded(3600 / (per_core / 8) / _PEAK):,}"))  # fmt: skip
    return table(("part", "a study needs", "busy for", "full at, studies a day"), rows)


def _all_slots(found: Mapping[str, Any]) -> float:
    """Return the core seconds of one study: two cores for its slot, receiving included, one for delivery."""
    return float(found["slot_s"]) * t.CORES_PER_SLOT.value + float(found["deliver_s"])


def rounded(value: float) -> int:
    """Return the number with two digits."""
    digits = len(str(int(value))) - 2
    return int(round(value, -digits)) if digits > 0 else round(value)


def disk(_found: Mapping[str, Any]) -> str:
    """Render GB a day and what is held with `[retention]`, and the journal, which is never shortened."""
    rows = []
    for volume in _VOLUMES:
        held = _held_gb(volume) / 1000
        day = volume * (t.SERIES_MB.value + t.OTHERS_MB.value + t.RESULT_MB.value) / 1000
        year = volume * 365 * t.OBJECTS * t.ROW_KB.value / 1e6
        every = day * 365 / 1000
        rows.append((f"{volume:,}", f"{day:,.0f} GB", f"{held:.1f} TB", f"{every:,.0f} TB", f"{year:,.0f} GB"))  # fmt: skip
    heads = (
        "studies a day",
        "written a day",
        f"held, {_DELIVERED_DAYS} days delivered, {_SKIPPED_DAYS} days skipped",
        "a year without `[retention]`",
        "journal, a year",
    )
    return table(heads, rows)


def _held_gb(volume: float) -> float:
    own = _DELIVERED_DAYS * (t.SERIES_MB.value + t.RESULT_MB.value)
    return volume * (own + _SKIPPED_DAYS * t.OTHERS_MB.value) / 1000


def cost(found: Mapping[str, Any]) -> str:
    """Render core-hours per 1,000 studies, by part."""
    slot = (found["slot_s"] - t.SHARED_S) * t.CORES_PER_SLOT.value
    parts = (
        ("receiving, 300 objects", t.RECEIVE_CPU_S),
        ("a slot: both cores for its time", slot),
        ("delivery, one core for its time", found["deliver_s"]),
    )
    total = sum(core_s for _, core_s in parts)
    rows = [
        (name, f"{core_s:.1f}", f"{core_s / 3.6:.2f}") for name, core_s in (*parts, ("all", total))
    ]
    return table(("part", "core seconds a study", "core-hours per 1,000 studies"), rows)


def prices(_found: Mapping[str, Any], price: Mapping[str, float] | None = None) -> str:
    """Render the price of 1,000 studies of machines that run day and night, with the disk of `disk`."""
    price = PRICES if price is None else price
    rows: list[tuple[str, ...]] = []
    for name, cores, cards in _MACHINES:
        day = 24 * (cores * price["core-hour"] + cards * price["card-hour"])
        rows.append((name, *(f"{day / volume * 1000:,.2f}" for volume in _VOLUMES)))
    held = (_held_gb(v) * price["gb-month"] * 12 / 365 / v for v in _VOLUMES)
    rows.append(("disk, on top", *(f"{day * 1000:,.2f}" for day in held)))
    return table(("", *(f"{v:,} a day" for v in _VOLUMES)), rows)


def _numbers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8"))
    return found


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "scaling-times": times,
    "scaling-setups": lambda: setups(_numbers()),
    "scaling-limits": lambda: limits(_numbers()),
    "scaling-disk": lambda: disk(_numbers()),
    "scaling-cost": lambda: cost(_numbers()),
    "scaling-prices": lambda: prices(_numbers()),
}
"""Parts of documents that `docs/generate.py` writes."""


def page(found: Mapping[str, Any], price: Mapping[str, float]) -> str:
    """Return the tables of other numbers and prices."""
    parts = (setups(found), limits(found), disk(found), cost(found), prices(found, price))
    return "\n\n".join(parts) + "\n"
