"""One run judged: against the truth, and against the first run of the same bundle on this machine (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from node.phantom.truth import LEVEL_MM, compare_values, level_off_mm
from node.store.selftest_history import SelftestRow

DRIFT_MM: Final = 0.05
"""Largest difference from the first run: the same bundle on the same machine gives equal values; another order of
sums moves a label by a voxel or two, and a value by hundredths of a millimetre."""
DRIFT_VOLUME: Final = 0.005
"""Largest relative difference of a volume."""


def measured(row: SelftestRow, result: Mapping[str, Any], truth: Mapping[str, Any]) -> SelftestRow:
    """Return the row with the values of `result.json`, passed or failed by the truth."""
    comparisons = compare_values(result, truth)
    wrong = [
        f"{c.name} {'refused' if c.deviation_mm is None else f'{c.deviation_mm:+.2f} mm off'}"
        for c in comparisons
        if not c.agrees
    ]
    off_mm = level_off_mm(result, truth)
    if off_mm > LEVEL_MM:
        wrong.append(f"disc {off_mm:.1f} mm off")
    errors = [abs(c.deviation_mm) for c in comparisons if c.deviation_mm is not None]
    volumes = {n: float(s["volume_ml"]) for n, s in result["structures"].items()}
    return replace(
        row,
        outcome="failed" if wrong else "passed",
        reason=f"not the truth: {', '.join(wrong)}" if wrong else "",
        values_mm={c.name: c.measured_mm for c in comparisons},
        volumes_ml=volumes,
        error_mm=max(errors, default=None),
    )


def against_first(row: SelftestRow, first: SelftestRow | None) -> SelftestRow:
    """Return the row compared with the first run; without one it is the reference itself, if it passed."""
    if first is None:
        return replace(row, reference=row.outcome == "passed")
    drift_mm, changed = _drift(row, first)
    if row.outcome == "passed" and changed:
        since = "" if first.software == row.software else f" (software then {first.software})"
        reason = f"differs from the first run{since}: {', '.join(changed)}"
        return replace(row, outcome="drifted", reason=reason, drift_mm=drift_mm)
    return replace(row, drift_mm=drift_mm)


def _drift(row: SelftestRow, first: SelftestRow) -> tuple[float, list[str]]:
    """Return the largest difference of a value in mm, and what differs by more than it may."""
    largest, changed = 0.0, []
    for name, before in first.values_mm.items():
        now = row.values_mm.get(name)
        if before is None or now is None:
            changed += [f"{name} refused" if now is None else f"{name} has a value"] * (before != now)  # fmt: skip
            continue
        largest = max(largest, abs(now - before))
        if abs(now - before) > DRIFT_MM:
            changed.append(f"{name} {now - before:+.2f} mm")
    for name, before_ml in first.volumes_ml.items():
        now_ml = row.volumes_ml.get(name, 0.0)
        if abs(now_ml - before_ml) > DRIFT_VOLUME * max(before_ml, 1e-6):
            changed.append(f"{name} {now_ml - before_ml:+.2f} ml")
    return largest, changed
