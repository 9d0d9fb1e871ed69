"""Retraining: train, compare with the model in service on the fixed held-out cases, decide whether to propose it.

Nothing is put into service here. The folder holds everything, so the same call continues after a kill:

`run/` the training run · `candidate/` the bundle · `comparison.json` verdict, reasons, table, each case's scores and
measurements by both models · `cases/` its results and labels, so that a killed comparison resumes · `worst/` pictures.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from model.bundle.card import LEVEL_WEIGHTS, read_card
from model.bundle.load import load_bundle
from training import export
from training.data import held_out
from training.data.cases import is_corrected, list_cases
from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.evaluate import EvaluationSettings, evaluate_cases
from training.evaluate.results_file import card_json
from training.evaluate.starting_bundle import Starting
from training.fit import segmentation as fit
from training.fit.recipe import Recipe
from training.retrain import precheck
from training.retrain.gate import MARGIN, GateDecision, decide
from training.retrain.measurement_gate import MARGIN_MM

RUN: Final = "run"
CANDIDATE: Final = "candidate"
COMPARISON: Final = "comparison.json"
_PART: Final = "candidate.part"
NAMED: Final = 6
"""Corrected cases that a note names; `comparison.json` and the card name all."""
CASES: Final = "cases"
IN_SERVICE: Final = "in_service"
WATCHED: Final = 4
"""Held-out cases whose loss and Dice are looked at while it trains. They choose nothing: the last weights count."""
INHERITED: Final = (
    "licence",
    "intended_use",
    "limits",
    "model_sd_mm",
    "model_share",
    "outline_shifts",
)
"""What a candidate's card takes over from the model it was trained from; the standard deviations of the
measurements are those of that model until `evaluate` has measured the candidate's."""

Evaluate = Callable[[Sequence[Path], Path], list[CaseResult]]
"""Results of these cases by the bundle in this folder."""
Draw = Callable[[Sequence[CaseResult], Sequence[CaseResult]], Sequence[Mapping[str, str]]]
"""Draws the worst cases by the model in service and the candidate; returns what `comparison.json` says of them."""


def draw_nothing(*_: Sequence[CaseResult]) -> Sequence[Mapping[str, str]]:
    """Draw no picture."""
    return ()


@dataclass(frozen=True, slots=True)
class Task:
    """What to train on, what to compare with, and where.

    fixed: file of the held-out set. bundle: the model in service. recipe: built-in values if
    None; an architecture that it does not name is that model's. margin: in Dice. margin_mm: of the median absolute
    errors of the measurements. fresh: start from random weights.
    """

    cases: Path
    fixed: Path
    bundle: Path
    out: Path
    recipe: Path | None = None
    margin: float = MARGIN
    margin_mm: float = MARGIN_MM
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The time limit was reached before the recipe's end; the same call continues."""

    step: int
    steps: int


def evaluator(
    task: Task, report: Callable[[CaseResult], None] = lambda _: None, threads: int = 0
) -> Evaluate:
    """Return a function that evaluates held-out cases by the inference pipeline.

    Results and labels of single cases are kept, so that a killed comparison need not evaluate the model in service
    again, and for pictures.
    """

    def evaluate(paths: Sequence[Path], folder: Path) -> list[CaseResult]:
        model = load_bundle(folder, threads=threads)
        side = IN_SERVICE if folder == task.bundle else CANDIDATE
        settings = EvaluationSettings(
            lambda _: model, unseen=lambda _: True, folder=task.out / CASES / side
        )
        return evaluate_cases(paths, settings, report)

    return evaluate


def build_recipe(task: Task, card: Mapping[str, Any], held: Sequence[Path]) -> Recipe:
    """Return the recipe with the held-out set's patients left out of the training; see `Starting.recipe`.

    Raises:
        RecipeError: the recipe cannot be read.
        UsageError: neither recipe nor bundle names an architecture of this version.
    """
    chosen = Starting(task.bundle, card).recipe(task.recipe)
    return replace(chosen, held_out=held_out.never_sampled(task.cases, held))


def corrected_cases(cases: Path, held_out: Collection[str]) -> list[str]:
    """Return the ids of cases to train on whose labels readers corrected, in order.

    Raises:
        CaseUnreadable: a case without a readable card.
    """
    return sorted(p.stem for p in list_cases(cases) if p.stem not in held_out and is_corrected(p))


def retrain(
    task: Task,
    evaluate: Evaluate,
    *,
    max_minutes: float = math.inf,
    report: Callable[[fit.Progress, Recipe], None] = lambda *_: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    draw: Draw = draw_nothing,
    say: Callable[[str], None] = lambda _: None,
) -> GateDecision | Unfinished:
    """Train to the recipe's end, write the candidate and decide on it; an earlier comparison is removed.

    What would reject it for certain is found before the first step (`precheck`); the model in service is evaluated
    then. draw: called with the results of both models. say: gets a line per note and refusal.

    Raises:
        RetrainRefused: no candidate of this recipe and these cases could be proposed.
        NoSpaceLeft: the disk has no room for what a retraining writes.
        BundleError: the model in service is not what its card says.
        HeldOutError, SourceMissing, UsageError, RecipeError, CaseUnreadable,
        CheckpointUnreadable: the input cannot be used.
    """
    card = read_card(task.bundle)
    held = held_out.read_held_out(task.fixed, task.cases)
    recipe = build_recipe(task, card, held)
    (task.out / COMPARISON).unlink(missing_ok=True)
    run = task.out / RUN
    precheck.check_disk(task.out, task.bundle, len(held))
    _act_on(precheck.check_cases(task.cases, held, recipe), say)
    start = None if task.fresh else task.bundle
    ready, _ = fit.prepare_run(task.cases, run, recipe, resume=True, start=start)
    in_service = evaluate(held, task.bundle)
    _act_on(precheck.check_results(in_service), say)
    _act_on(precheck.check_time(ready, max_minutes), say)
    if not fit.train_segmentation(
        ready,
        run,
        max_minutes=max_minutes,
        validation=held[:: -(-len(held) // WATCHED)],  # spread over the set, whatever its order
        objective=recipe.objective,
        report=lambda p: report(p, recipe),
    ):
        return Unfinished(ready.step, recipe.steps)
    corrected = corrected_cases(task.cases, recipe.held_out)
    candidate_card, candidate = _candidate(task, card, held, evaluate, now(), corrected)
    decision = _with_doubts(decide(in_service, candidate, task.margin, task.margin_mm), card, held)
    decision = replace(decision, notes=(*decision.notes, *_corrections_note(corrected)))
    content = {
        "created": now().isoformat(),
        **decision.to_json(),
        IN_SERVICE: _side(card, in_service),
        CANDIDATE: _side(candidate_card, candidate),
        "cases": [p.stem for p in held],
        "corrections": corrected,
        "pictures": [dict(p) for p in draw(in_service, candidate)],
    }
    _write(task.out / COMPARISON, json.dumps(content, indent=1) + "\n")
    return decision


def _act_on(found: precheck.Findings, say: Callable[[str], None]) -> None:
    """Say every note, and every refusal before the first of them is raised."""
    for note in found.notes:
        say(f"note: {note}")
    for refusal in found.refusals:
        say(f"would be rejected: {refusal}")
    found.raise_if_refused()


def _candidate(
    task: Task,
    card: Mapping[str, Any],
    held: Sequence[Path],
    evaluate: Evaluate,
    at: datetime,
    corrected: Sequence[str],
) -> tuple[dict[str, Any], list[CaseResult]]:
    """Write the candidate's bundle, complete or not at all; return its card and its results."""
    part, folder = task.out / _PART, task.out / CANDIDATE
    origin = {k: card[k] for k in ("name", "version", "digest")}
    extra = {k: card[k] for k in INHERITED if k in card} | {"retrained_from": origin}
    extra |= {"corrections": list(corrected)}
    version = f"{str(card['version']).partition('+')[0]}+{at:%Y%m%d%H%M}"
    fields = export.CardFields(version, at.date().isoformat(), card["name"], extra)
    level = task.bundle / LEVEL_WEIGHTS
    shutil.rmtree(part, ignore_errors=True)
    roots = task.bundle if "roots_architecture" in card else None
    export.export(task.out / RUN, [level], part, fields, roots)
    results = evaluate(held, part)
    extra = {**extra, "evaluation": card_json(results)["evaluation"]}
    export.export(task.out / RUN, [level], part, replace(fields, extra=extra), roots)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return read_card(folder), results


def _with_doubts(
    decision: GateDecision, card: Mapping[str, Any], held: Sequence[Path]
) -> GateDecision:
    """Add a note about held-out cases that the model in service may have been trained on."""
    unseen = set(card.get("training", {}).get("held_out", ()))
    doubtful = [p.stem for p in held if p.stem not in unseen]
    if not doubtful:
        return decision
    note = (
        f"{len(doubtful)} of {len(held)} cases, the first {doubtful[0]}, are not named as held out by the"
        " model in service: it may have been trained on them, and so may what began with its weights"
    )
    return replace(decision, notes=(*decision.notes, note))


def _corrections_note(corrected: Sequence[str]) -> list[str]:
    """Say how many cases with labels that readers corrected were trained on, and which; nothing without any."""
    if not corrected:
        return []
    more = f" and {len(corrected) - NAMED} more" if len(corrected) > NAMED else ""
    cases = "case" if len(corrected) == 1 else "cases"
    return [f"{len(corrected)} corrected {cases} went in: {', '.join(corrected[:NAMED])}{more}"]


def _side(card: Mapping[str, Any], results: Sequence[CaseResult]) -> dict[str, Any]:
    return {
        **{k: card[k] for k in ("name", "version", "digest")},
        "scores": [
            {
                "case": r.case_id,
                "level_error_mm": r.level_error_mm,
                "why": r.why,
                "dice": {k: round(v, 5) for k, v in r.dice.items()},
                "measurements": {k: _measured(pair) for k, pair in r.measurements.items()},
            }
            for r in results
        ],
    }


def _measured(pair: MeasuredPair) -> dict[str, Any]:
    """Return one measurement in mm, or the code of its refusal."""
    values = {"automatic_mm": pair.automatic_mm, "reference_mm": pair.reference_mm}
    rounded = {k: None if v is None else round(v, 3) for k, v in values.items()}
    return {**rounded, "refusal": pair.refusal}


def _write(path: Path, text: str) -> None:
    """Write a file, complete or not at all, and flush it to the disk."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
