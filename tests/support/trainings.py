"""Folders as trainings leave them, written by hand: curves, comparisons, folds, and a job that proposes a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.bundle.card import CARD, read_card, seal
from model.bundle.write import write_coded_bundle
from model.engines import coded
from node.console.picture import png
from node.journal.journal import Journal
from node.journal.states import JobEvent
from node.models.retraining import JobDirectory
from tests.support.jobs import PLAN

STRUCTURES = ("l4", "ivd", "l5", "dura", "n4", "aa", "pm", "ivc")


def coded_bundle(folder: Path, version: str) -> Path:
    """A bundle without weights, of a version."""
    write_coded_bundle(folder)
    card = {
        "schema": 1,
        "name": "oracle",
        "version": version,
        "architecture": {"name": coded.NAME},
    }
    (folder / CARD).write_text(json.dumps(seal(card, folder)))
    return folder


def write_run(folder: Path, steps: int = 400, reports: int = 20) -> Path:
    """A run with a falling loss, validated at every fifth report."""
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"steps": steps}))
    lines = []
    for n in range(1, reports + 1):
        line: dict[str, Any] = {"step": n * steps // reports, "loss": 2.0 / n, "seconds": n * 9.0}
        if n % 5 == 0:
            line |= {
                "validation_loss": 2.5 / n,
                "dice": {"l4": 1 - 1 / n, "n4": 0.5 - 1 / n},
            }
        lines.append(json.dumps(line))
    (folder / "curve.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def compared(
    name: str, dice: float, measured: Mapping[str, tuple[float | None, float | None]]
) -> dict[str, Any]:
    """One entry of `scores`. measured: (automatic, reference) in mm."""
    pairs = {
        key: {"automatic_mm": a, "reference_mm": r, "refusal": "" if a is not None else "no_gap"}
        for key, (a, r) in measured.items()
    }
    return {
        "case": name,
        "level_error_mm": 1.5,
        "why": "",
        "dice": dict.fromkeys(STRUCTURES, dice),
        "measurements": pairs,
    }


def side(bundle: Path, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One model of a comparison."""
    card = read_card(bundle)
    return {**{k: card[k] for k in ("name", "version", "digest")}, "scores": list(scores)}


def measured_row(name: str, pairs: int) -> dict[str, Any]:
    """One row of the gate's table of measurements."""
    return {
        "measurement": name,
        "references": pairs + 1,
        "pairs": pairs,
        "in_service_mm": 0.625,
        "candidate_mm": 0.5,
        "difference_mm": -0.125,
        "p_worse": 0.9,
        "refused_in_service": 0,
        "refused_candidate": 1,
    }


def comparison(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    reasons: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What `comparison.json` holds."""
    rows = [
        {
            "structure": s,
            "pairs": len(new["scores"]),
            "in_service": 0.81,
            "candidate": 0.84,
            "difference": 0.03,
            "p_worse": 0.9,
        }
        for s in STRUCTURES
    ]
    return {
        "verdict": "rejected" if reasons else "proposed",
        "reasons": list(reasons),
        "notes": list(notes),
        "rule": {"margin": 0.01, "margin_mm": 0.3},
        "table": rows,
        "measurements": [measured_row("OC", 6), measured_row("PI", 1)],
        "in_service": dict(old),
        "candidate": dict(new),
        "cases": [s["case"] for s in new["scores"]],
        "pictures": [
            {
                "file": "worst/1-candidate.png",
                "case": new["scores"][0]["case"],
                "model": "candidate",
                "caption": "mean Dice 0.500",
            }
        ],
    }


def proposed_job(journal: Journal, state: Path, content: Mapping[str, Any]) -> int:
    """A job of the journal that ran and proposes `content`; its candidate's bundle is the caller's."""
    job = journal.jobs.enqueue(PLAN, "E. Miller").id
    journal.jobs.start(job, 1, "", PLAN)
    place = JobDirectory.of(state, job)
    write_run(place.out / "run")
    (place.out / "worst").mkdir()
    (place.out / "worst" / "1-candidate.png").write_bytes(png(2, 3, bytes(18)))
    (place.out / "comparison.json").write_text(json.dumps(content))
    place.log.write_text("step 1 of 400, loss 2.0\nevaluated spider-007 in 3.2 s\n")
    journal.jobs.advance(
        job,
        JobEvent.COMPARISON_PASSED,
        detail={"reason": "", "exit_code": 0},
        outcome={
            "verdict": "proposed",
            "table": content["table"],
            "measurements": content["measurements"],
            **{
                s: {k: content[s][k] for k in ("name", "version", "digest")}
                for s in ("in_service", "candidate")
            },
        },
    )
    return job


def write_folds(folder: Path) -> Path:
    """Two folds, the first finished with two cases."""
    write_run(folder / "fold-1")
    write_run(folder / "fold-2")
    cases = [
        {
            "case_id": f"spider-00{n}",
            "scores": {"l4": {"dice": value}, "ivd": {"dice": 0.5}},
            "measurements": {},
            "level_error_mm": 1.0,
        }
        for n, value in ((1, 0.9), (2, 0.8))
    ]
    figures = {"step": 200, "validation_dice": 0.75, "cases": cases}
    (folder / "fold-1" / "figures.json").write_text(json.dumps(figures))
    return folder
