"""The page of a proposal: the candidate against the model in service, per structure and per measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from dicomseg.measurement_names import MAIN_MEASUREMENTS, TITLES
from node.console.console import Asked, Console
from node.console.plots import bland_altman_plot, reach_of
from node.console.render import render_message
from node.console.training_parts import (
    FEWEST,
    figure,
    job_of,
    measurements_table,
    scores_table,
)
from node.errors import RunFileUnreadable
from node.journal.job_rows import JobRow
from node.journal.states import JobState
from node.models.case_figures import Agreement, CaseFigures, agreement, pairs_of
from node.models.comparison import Comparison, read_comparison, worst_png
from node.models.retraining import JobDirectory
from node.observe.node_status import model_in_service

MOST_CASES: Final = 10
MOST_DOTS: Final = 500
NAMES: Final = {"in_service": "in service", "candidate": "candidate"}


def proposal_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return verdict, tables, plots and worst cases of a job's comparison. Raises `UnknownJob`."""
    row, sees = job_of(console, asked), asked.visitor.role.sees_patients
    newest = console.journal.promotions.newest()
    values: dict[str, Any] = {
        "row": row,
        "seen": 0 if newest is None else newest.id,
        "may_promote": row.state is JobState.PROPOSED,
        "stale": _stale(console, row),
        "fault": "",
        "found": None,
        "rows": [],
        "errors": [],
        "measured": [],
        "worst": [],
    }
    try:
        found = read_comparison(JobDirectory.of(console.config.node.state, row.id))
    except RunFileUnreadable as fault:
        return {**values, "fault": str(fault)}
    measured = _measured(found)
    return {
        **values,
        "found": found,
        "notes": found.notes if sees else (),
        "rows": scores_table(found.rows),
        "errors": measurements_table(found.measured, fewest=0 if sees else FEWEST),
        "agreements": [m for m in measured if sees or m["fewest"] >= FEWEST],
        "measured": _plots(found) if sees else [],
        "worst": _worst(found) if sees else [],
        "largest": _largest(found) if sees else [],
    }


def _stale(console: Console, row: JobRow) -> str:
    """Return why the comparison no longer says what a promotion would change, "" where it does."""
    compared = str(row.outcome.get("in_service", {}).get("digest", ""))
    serving = model_in_service(console.config, console.journal, console.bundle)
    if row.state is not JobState.PROPOSED or compared == serving["digest"]:
        return ""
    return f"It was compared with another model than {serving['name']} {serving['version']}, which is in service now; enqueue a new job."


def _measured(found: Comparison) -> list[dict[str, Any]]:
    """Return the agreement with the references per measurement, for both models."""
    rows = []
    for name in MAIN_MEASUREMENTS:
        both = {
            key: agreement(pairs_of(side.cases, name))
            for key, side in (("in_service", found.in_service), ("candidate", found.candidate))
        }
        if any(one.n or one.refused for one in both.values()):
            shown = [_agreement(NAMES[key], one) for key, one in both.items()]
            rows.append({"name": name, "title": TITLES[name], "sides": shown, "fewest": min(one.n for one in both.values())})  # fmt: skip
    return rows


def _agreement(name: str, one: Agreement) -> dict[str, str]:
    limits = "–" if one.limits is None else f"{one.limits[0]:+.2f} to {one.limits[1]:+.2f}"
    return {
        "model": name, "n": str(one.n), "refused": str(one.refused), "bias": figure(one.bias, 2, signed=True),
        "limits": limits, "mae": figure(one.mae, 2),
    }  # fmt: skip


def _plots(found: Comparison) -> list[tuple[str, list[str]]]:
    """Return the Bland–Altman plots of both models per measurement, on the same axes."""
    plots: list[tuple[str, list[str]]] = []
    for name in MAIN_MEASUREMENTS:
        sides = {
            "in service": found.in_service.cases,
            "candidate": found.candidate.cases,
        }
        points = {side: _points(cases, name) for side, cases in sides.items()}
        if not any(points.values()):
            continue
        stats = {side: agreement(pairs_of(cases, name)) for side, cases in sides.items()}
        reach = reach_of(points.values(), stats.values())
        made = [
            bland_altman_plot(f"{name}, {side}", points[side], stats[side], hollow=side != "candidate", reach=reach)
            for side in sides
        ]  # fmt: skip
        plots.append((name, made))
    return plots


def _points(cases: Sequence[CaseFigures], name: str) -> list[tuple[str, float, float]]:
    """Return (case, mean, difference) in mm of the cases with both values."""
    found = []
    for case in cases[:MOST_DOTS]:
        pair = case.pairs.get(name)
        if pair is None or pair.automatic is None or pair.reference is None:
            continue
        found.append((case.case, (pair.automatic + pair.reference) / 2, pair.automatic - pair.reference))  # fmt: skip
    return found


def _worst(found: Comparison) -> list[dict[str, Any]]:
    """Return the candidate's cases with the lowest mean Dice, with both models' and their pictures."""
    before = {c.case: c.mean_dice for c in found.in_service.cases}
    scored = sorted((c for c in found.candidate.cases if c.mean_dice is not None), key=lambda c: c.mean_dice or 0.0)  # fmt: skip
    return [
        {
            "case": c.case,
            "candidate": figure(c.mean_dice, 3),
            "in_service": figure(before.get(c.case), 3),
            "lowest": min(c.dice.items(), key=lambda item: item[1]),
            "why": c.why,
            "pictures": [
                {"number": p.number, "side": p.side, "model": NAMES[p.side], "caption": p.caption}
                for p in found.pictures
                if p.case == c.case
            ],
        }
        for c in scored[:MOST_CASES]
    ]


def _largest(found: Comparison) -> list[dict[str, str]]:
    """Return the candidate's largest differences from the reference, one per measurement and case."""
    every = [
        (abs(difference), name, case.case, difference)
        for case in found.candidate.cases
        for name, pair in case.pairs.items()
        if (difference := pair.difference) is not None
    ]
    return [
        {"name": name, "case": case, "difference": figure(difference, 2, signed=True)}
        for _, name, case, difference in sorted(every, reverse=True)[:MOST_CASES]
    ]


def worst_picture(console: Console, asked: Asked) -> Response:
    """Return a picture of a worst case as PNG; 404 with a sentence where there is none. Raises `UnknownJob`."""
    if not asked.visitor.role.sees_patients:
        text = "pictures are for physicians and operators"
        return render_message(console, asked.visitor, HTTPStatus.FORBIDDEN, text)
    row = job_of(console, asked)
    directory = JobDirectory.of(console.config.node.state, row.id)
    try:
        content = worst_png(directory, int(asked.path["number"]), asked.path["side"])
    except RunFileUnreadable as fault:
        return render_message(console, asked.visitor, HTTPStatus.NOT_FOUND, str(fault), f"/training/jobs/{row.id}/proposal")  # fmt: skip
    return Response(content, media_type="image/png")
