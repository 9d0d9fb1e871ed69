"""A follow-up for programs and for people: JSON, and the lines and tables of `lumbar-node followup`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from dicomseg.compare.change import Reading
from dicomseg.compare.comparison import NOTES
from dicomseg.compare.plain import change_json, reading_json
from dicomseg.compare.text import change_text, quantity, reading_text, verdict
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from node.observe.followup import LEFT_OUT, FollowUp, Found, Step, Visit

HEADS: Final = ("value", "earlier", "later", "change", "must exceed", "verdict")
Rows = Sequence[Sequence[str]]


def followup_json(found: Found) -> dict[str, Any]:
    """Return what was found for programs; it holds nothing that names the patient but the UIDs."""
    return {
        "patients": [
            {
                "studies": [_visit_json(v) for v in followup.visits],
                "steps": [_step_json(s) for s in followup.steps],
            }
            for followup in found.followups
        ],
        "left_out": [
            {"study": study, "reason": code, "text": LEFT_OUT[code]}
            for study, code in found.left_out
        ],
        "truncated": found.truncated,
    }


def _visit_json(visit: Visit) -> dict[str, Any]:
    return {
        "study": visit.study,
        "series": visit.series,
        "result": visit.result,
        "date": visit.when or None,
        "description": visit.examined.description,
        "scanner": [text for text in visit.examined.scanner if text],
        "level": visit.level,
        "level_doubtful": visit.doubtful,
        "model": " ".join(visit.model[:2]),
        "other_results": visit.others,
        "values": {name: reading_json(reading) for name, reading in visit.values.items()},
    }


def _step_json(found: Step) -> dict[str, Any]:
    return {
        "from": found.before.study,
        "to": found.after.study,
        "days": found.days,
        "notes": list(found.notes),
        "changes": {name: change_json(c) for name, c in found.changes.items()},
    }


# --- for people ---


def visit_line(visit: Visit) -> str:
    """Return one study in one line: date, scanner, model, series."""
    scanner = " ".join(text for text in visit.examined.scanner if text) or "scanner unknown"
    others = f"; {visit.others} more of this study" if visit.others else ""
    doubt = "; level doubtful" if visit.doubtful else ""
    model = " ".join(visit.model[:2])
    return f"{visit.when or 'no date'}: {scanner}, {model}, series {visit.series}{others}{doubt}"


def step_line(found: Step) -> str:
    """Return what lies between two studies: dates, days, and what differs."""
    days = "" if found.days is None else f", {found.days} days"
    notes = "".join(f"; {NOTES[code]}" for code in found.notes)
    return f"{found.before.when or 'no date'} to {found.after.when or 'no date'}{days}{notes}"


def step_rows(found: Step) -> Rows:
    """Return the table of a step, main values first: name, both values, change, limit, verdict (`HEADS`)."""
    rows = []
    for name, change in sorted(found.changes.items(), key=lambda item: _rank(item[0])):
        before, after = found.before.values.get(name), found.after.values.get(name)
        unit = (after or before or Reading(None, "")).unit
        limit = "–" if change.limit is None else quantity(change.limit, unit, finer=True)
        rows.append(
            (name, reading_text(before), reading_text(after), change_text(change, unit), limit, verdict(change))
        )  # fmt: skip
    return rows


def _rank(name: str) -> int:
    main = list(MAIN_MEASUREMENTS)
    return main.index(name) if name in main else len(main)


def followup_parts(followup: FollowUp) -> Iterator[tuple[str, Rows]]:
    """Yield lines, each with the rows of the table below it, none below the lines of the studies."""
    for visit in followup.visits:
        yield visit_line(visit), ()
    for found in followup.steps:
        yield step_line(found), step_rows(found)


def left_out_lines(found: Found) -> list[str]:
    """Return what was left out of every follow-up, and why."""
    return [f"study {study} is not compared: {LEFT_OUT[code]}" for study, code in found.left_out]
