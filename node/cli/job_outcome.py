"""What a retraining answered, as `lumbar-node jobs show` prints it: both models, the gate's tables, reasons and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.cli.output import print_line, print_table
from node.cli.tables import Table


def show_outcome(outcome: Mapping[str, Any]) -> None:
    """Print the outcome of a job; nothing where it has none."""
    if not outcome:
        return
    for side in ("in_service", "candidate"):
        card = outcome[side]
        print_line(
            f"{side.replace('_', ' ')}: {card['name']} {card['version']} {card['digest'][:12]}"
        )
    keys = ("pairs", "in_service", "candidate", "difference", "p_worse")
    cells = [[r["structure"], *(_figure(r[k]) for k in keys)] for r in outcome.get("table", ())]
    heads = ("in service", "candidate", "difference", "p (worse)")
    print_table(Table(("structure", "pairs", *heads), cells))
    if outcome.get("measurements"):
        cells = [_measured(row) for row in outcome["measurements"]]
        print_table(Table(("median error, mm", "pairs", *heads, "refused"), cells))
    for line in (*outcome.get("reasons", ()), *outcome.get("notes", ())):
        print_line(f"  {line}")


def _measured(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of one measurement; refused by the model in service, by the candidate, of how many."""
    keys = ("pairs", "in_service_mm", "candidate_mm", "difference_mm", "p_worse")
    counts = [row[k] for k in ("refused_in_service", "refused_candidate", "references")]
    return [
        row["measurement"],
        *(_figure(row[k]) for k in keys),
        "{}, {} of {}".format(*counts),
    ]


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
