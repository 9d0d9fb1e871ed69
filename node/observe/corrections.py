"""Corrections for people and programs: what viewers sent, what was found of it, values before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node.clock import at_text
from node.journal.corrections import CorrectionRow, CorrectionState
from node.journal.journal import Journal
from node.store.layout import StateDirectory


def corrections_json(
    journal: Journal, state: Path, *, unrelated: bool = False
) -> list[dict[str, Any]]:
    """Return what was judged, newest first. state: state folder. unrelated: also what is no correction."""
    return [
        _json(row, state)
        for row in journal.corrections.all()
        if unrelated or row.state is not CorrectionState.UNRELATED
    ]


def _json(row: CorrectionRow, state: Path) -> dict[str, Any]:
    has_case = row.entry and row.state is not CorrectionState.REMOVED
    folder = _folder(row, state) if has_case else None
    return {
        "sop_instance": row.sop_instance,
        "series": row.series.series,
        "state": str(row.state),
        "code": row.code,
        "reason": row.reason,
        "study": row.series.study,
        "source_series": None if row.source is None else row.source.series,
        "result_id": row.result_id or None,
        "sent_by": row.calling_ae,
        "judged": at_text(row.judged_at),
        "case": row.entry or None,
        "folder": None if folder is None else str(folder),
        "folder_is_gone": folder is not None and not folder.is_dir(),
        "figures": dict(row.figures) or None,
    }


def _folder(row: CorrectionRow, state: Path) -> Path:
    return StateDirectory(state).corrections / str(row.state) / row.entry


def missing_cases(journal: Journal, state: Path) -> list[tuple[str, Path]]:
    """Return name and folder of each accepted case whose folder is gone: it is no case any more."""
    rows = [r for r in journal.corrections.all() if r.state is CorrectionState.ACCEPTED]
    folders = {r.entry: _folder(r, state) for r in rows}
    return [(entry, folder) for entry, folder in folders.items() if not folder.is_dir()]


def correction_lines(entry: Mapping[str, Any]) -> list[str]:
    """Return one judged segmentation as lines for people."""
    because = f": {entry['reason']}" if entry["reason"] else ""
    lines = [f"{entry['judged']}  {entry['state']:<9} {entry['sop_instance']}{because}"]
    if entry["source_series"]:
        result = f", result {entry['result_id']}" if entry["result_id"] else ""
        case = f"case {entry['case']} " if entry["case"] else ""
        lines.append(f"    {case}of series {entry['source_series']}{result}")
    if entry["folder_is_gone"]:
        lines.append("    its folder is gone: it is no case any more")
    figures = entry["figures"] or {}
    values = figures.get("values") or {}
    if values:
        lines.append("    " + ", ".join(_value(n, v) for n, v in values.items()))
    if figures.get("unchanged"):
        lines.append(f"    not sent, as in the result: {', '.join(figures['unchanged'])}")
    small = _drawn_in_part(figures)
    if small:
        lines.append(f"    less than half of what the result has: {', '.join(small)}")
    return lines


def _drawn_in_part(figures: Mapping[str, Any]) -> list[str]:
    """Return the drawn structures of which less than half is left: perhaps only some slices were drawn."""
    drawn, found = figures.get("drawn") or (), figures.get("structures") or {}
    return [s for s in drawn if s in found and found[s]["after_ml"] < found[s]["before_ml"] / 2]


def _value(name: str, value: Mapping[str, Any]) -> str:
    before, after = (_side(value, when) for when in ("before", "after"))
    return f"{name} {before} → {after}"


def _side(value: Mapping[str, Any], when: str) -> str:
    number = value.get(f"{when}_mm")
    return f"{number:.1f} mm" if number is not None else str(value.get(f"{when}_refusal") or "-")


def summary_line(entries: Sequence[Mapping[str, Any]], state: Path) -> str:
    """Return how many cases there are to import, and how."""
    accepted = [e for e in entries if e["state"] == CorrectionState.ACCEPTED]
    count = len({e["case"] for e in accepted if not e["folder_is_gone"]})
    folder = StateDirectory(state).corrections / str(CorrectionState.ACCEPTED)
    cases = "case" if count == 1 else "cases"
    return f"{count} {cases} to import: lumbar-train import --out CASES --licence TEXT --dicom {folder}"
