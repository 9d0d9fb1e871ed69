"""Times and sizes that the simulation of `scaling.py` is fed with: measured, assumed, or of a node's own files."""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from scaling_day import Service, log_normal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from node.journal.journal import Journal
from node.journal.overview import SeriesFilter
from node.observe.timeline import timeline

BENCHMARKS: Final = "docs/benchmarks.md"
ASSUMED: Final = "assumed"


@dataclass(frozen=True, slots=True)
class Number:
    """One number with its unit and where it comes from: a document with its table, or `ASSUMED` and why."""

    value: float
    unit: str
    source: str


RECEIVE_RATE: Final = Number(456, "objects/s", f"{BENCHMARKS}, receiving, four senders, idle")
RECEIVE_CPU: Final = Number(0.004, "core s per object", f"{BENCHMARKS}, receiving, four senders")
COMPLETE: Final = Number(0.2, "s", f"{BENCHMARKS}, last slice to last object: complete")
LOAD: Final = Number(0.1, "s", f"{BENCHMARKS}, last slice to last object: load")
LEVEL: Final = Number(0.2, "s", f"{BENCHMARKS}, last slice to last object: level")
NETWORK: Final = Number(0.3, "s", f"{BENCHMARKS}, last slice to last object: network")
ROOTS: Final = Number(0.2, "s", f"{BENCHMARKS}, last slice to last object: roots")
AFTER: Final = Number(0.5, "s", f"{BENCHMARKS}, last slice to last object: labels, checks")
MEASURE: Final = Number(0.5, "s", f"{BENCHMARKS}, last slice to last object: measure")
ENCODE: Final = Number(1.5, "s", f"{BENCHMARKS}, last slice to last object: draw, encode, write")
DELIVER: Final = Number(0.5, "s", f"{BENCHMARKS}, last slice to last object: deliver")
START: Final = Number(11.2, "s", f"{BENCHMARKS}, start of a worker")
SERIES_MB: Final = Number(26, "MB", "docs/operations.md, sizing: 128 slices")
RESULT_MB: Final = Number(32, "MB", "docs/operations.md, sizing")
ROW_KB: Final = Number(0.5, "kB per object", "docs/operations.md, sizing: journal")
WORKER_GB: Final = Number(2, "GB per worker", "docs/operations.md, sizing: memory")
SILENT: Final = Number(
    30, "s", "15 heartbeats of [work] heartbeat_seconds; then a worker counts as dead"
)
SPREAD: Final = Number(0.25, "", f"{ASSUMED}: standard deviation of the logarithm of a slot's time")
SLICES: Final = Number(128, "objects", f"{ASSUMED}: the series that is measured")
OTHERS: Final = Number(
    172, "objects", f"{ASSUMED}: the study's other series, which no rule accepts"
)
OTHERS_MB: Final = Number(52, "MB", f"{ASSUMED}: those, at 0.3 MB each")
CARD: Final = Number(0.2, "s", f"{ASSUMED}, not measured: level, network and roots on a GPU")
TRANSFER: Final = Number(0.25, "s", "docs/adr/0049-more-than-one-machine.md: 25 MB on a gigabit")
AWAY: Final = Number(600, "s", f"{ASSUMED}: until a machine that failed is back")
EVERY: Final = Number(6 * 3600, "s", f"{ASSUMED}: mean time between failures")
CORES_PER_SLOT: Final = Number(2, "cores", f"{BENCHMARKS}: every time above was taken on two cores")

HOURS: Final = (*(1.5,) * 7, 5, 8, 9, 9, 8, 6, 7, 8, 8, 6, 4, 3, 2, *(1.5,) * 4)
"""Assumed weight of each hour of a day: 83 of 100 studies come from 7 to 20 h, 9 in the busiest hour."""

NUMBERS: Final[Mapping[str, Number]] = {
    "receiving": RECEIVE_RATE,
    "receiving, processor time": RECEIVE_CPU,
    "wait for completeness": COMPLETE,
    "slot: load": LOAD,
    "slot: level": LEVEL,
    "slot: network": NETWORK,
    "slot: roots": ROOTS,
    "slot: labels and checks": AFTER,
    "slot: measure": MEASURE,
    "slot: draw, encode, write": ENCODE,
    "delivery to one destination": DELIVER,
    "a worker's start": START,
    "a silent worker": SILENT,
    "series that is measured": SERIES_MB,
    "result": RESULT_MB,
    "journal": ROW_KB,
    "memory": WORKER_GB,
    "cores of a slot": CORES_PER_SLOT,
    "slices of the series": SLICES,
    "other objects of the study": OTHERS,
    "their size": OTHERS_MB,
    "spread of a slot's time": SPREAD,
    "slot with a GPU: level, network, roots": CARD,
    "way to another machine": TRANSFER,
    "failures": EVERY,
    "a failed machine": AWAY,
}

OBJECTS: Final = SLICES.value + OTHERS.value
"""Objects of a study that are received."""
RECEIVE_CPU_S: Final = OBJECTS * RECEIVE_CPU.value
"""Core seconds that receiving one study takes."""
SHARED_S: Final = RECEIVE_CPU_S / CORES_PER_SLOT.value
"""Seconds that a slot loses per study to receiving, which has the same cores."""


def measured() -> Service:
    """Return the service of a slot of two cores that receives on the same cores."""
    segment_s = LEVEL.value + NETWORK.value + ROOTS.value
    finish_s = LOAD.value + AFTER.value + MEASURE.value + ENCODE.value + SHARED_S
    receive_s = OBJECTS / RECEIVE_RATE.value
    law = log_normal(SPREAD.value)
    return Service(receive_s, COMPLETE.value, segment_s, finish_s, DELIVER.value, law)


def on_a_card(service: Service) -> Service:
    """Return the service with level, network and roots on a GPU: a time that is assumed."""
    return replace(service, segment_s=CARD.value)


def sent_away(service: Service) -> Service:
    """Return the service where image and labels travel to another machine."""
    return replace(service, segment_s=service.segment_s + TRANSFER.value)


def networks_away(service: Service) -> Service:
    """Return the service with the networks, labels and checks on another machine (`[work] engine = "dask"`)."""
    segment_s = service.segment_s + AFTER.value + TRANSFER.value
    return replace(service, segment_s=segment_s, finish_s=service.finish_s - AFTER.value)


class NoTimes(Exception):
    """The files hold no time of a processed series."""


def service_of(files: Sequence[Path]) -> Service:
    """Return the service of a node's own files: results (`result.json`) or its journal (`journal.sqlite`).

    Medians of the steps that the files hold, the measured defaults for the others, and the spread of the slot's
    times. A `result.json` ends before encoding: its default is added.

    Raises:
        NoTimes: the files hold no time of a processed series.
    """
    found = [steps for path in files for steps in _steps(path)]
    slots = [s["slot"] for s in found if s.get("slot", 0) > 0]
    if not slots:
        raise NoTimes(f"no time of a processed series in {', '.join(map(str, files))}")
    default, segments = measured(), _median(found, "segment")
    slot_s = statistics.median(slots)
    segment_s = min(default.segment_s if segments is None else segments, slot_s)
    logs = [math.log(s) for s in slots]
    spread = statistics.stdev(logs) if len(logs) > 1 else SPREAD.value
    complete, deliver = _median(found, "complete"), _median(found, "deliver")
    return replace(
        default,
        complete_s=default.complete_s if complete is None else complete,
        segment_s=segment_s,
        finish_s=slot_s - segment_s,
        deliver_s=default.deliver_s if deliver is None else deliver,
        law=log_normal(spread),
    )


def _median(found: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [steps[name] for steps in found if name in steps]
    return statistics.median(values) if values else None


def _steps(path: Path) -> Iterator[dict[str, float]]:
    """Yield the seconds of complete, slot, segment and deliver of each series of one file, as far as it has them."""
    if path.suffix == ".json":
        inside = json.loads(path.read_text(encoding="utf-8")).get("timings_s", {})
        if {"load", "segment", "measure"} <= set(inside):
            slot = inside["load"] + inside["segment"] + inside["measure"] + ENCODE.value
            yield {"slot": slot, "segment": inside["segment"]}
        return
    journal = Journal.reading(path, time.time)
    try:
        for row in journal.overview.newest(SeriesFilter()):
            times = timeline(journal, row.key)
            steps = {k: v for k, v in times.stages_s.items() if k in {"complete", "deliver"}}
            if "process" in times.stages_s:
                steps["slot"] = times.stages_s["process"]
            if "segment" in times.inside_s:
                steps["segment"] = times.inside_s["segment"]
            if "slot" in steps:
                yield steps
    finally:
        journal.close()
