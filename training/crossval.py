"""Cross-validation: each fold trained to the end of the recipe, tested on patients it never saw."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Volume
from model.bundle import LEVEL_WEIGHTS, LoadedModel, load
from training import fit as fitting
from training.cases import Case, load_case
from training.evaluate import CaseScore, evaluate_case, summary
from training.export import CardFields, export
from training.folds import Fold
from training.level_fit import fit_level, small_of
from training.recipe import Recipe

SCORES: Final = "scores.json"
LEVEL: Final = "level.pt"
BUNDLE: Final = "bundle"


@dataclass(frozen=True, slots=True)
class Plan:
    """How folds are trained and tested.

    level_steps: steps of the level finder that each fold trains on its own patients; 0 tells the
    network the true level instead, and the scores are then those of the segmentation alone.
    minutes: for this call and fold. engine: of the test.
    """

    recipe: Recipe
    level_steps: int = 0
    minutes: float = float("inf")
    engine: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class KnownLevel:
    """Answers with the true level of one case."""

    case: Case

    def locate(self, volume: Volume) -> Level | NotInView:  # noqa: ARG002 - the protocol's argument
        """Return the case's level, certain."""
        return Level(self.case.level_centre_lps, self.case.level_normal, 1.0)


def run_fold(
    fold: Fold,
    paths: Mapping[str, Path],
    shipped: Path,
    out: Path,
    plan: Plan,
    report: Callable[[str], None] = lambda _: None,
) -> list[CaseScore] | None:
    """Train one fold as far as the time allows; its scores when it is finished, else None.

    A finished fold is read, not trained again. shipped: bundle whose level weights stand in where
    none are trained; they are not asked then.

    Raises:
        OptionsRefused: the fold was begun with another recipe.
    """
    done = out / SCORES
    if done.exists():
        return read_scores(done)
    recipe = replace(plan.recipe, held_out=tuple(sorted({*fold.test, *fold.validation})))
    cases = _common(paths)
    ready, _ = fitting.prepare_fit(cases, out, recipe, resume=True)
    finished = fitting.run(
        ready,
        out,
        max_minutes=plan.minutes,
        validation=[paths[c] for c in fold.validation],
        report=lambda now: report(f"step {now.step} of {recipe.steps}, loss {now.loss:.3f}"),
    )
    if not finished:
        return None
    level = _level(fold, paths, shipped, out, plan, report)
    today = datetime.now(UTC).date().isoformat()
    export(out, level, out / BUNDLE, CardFields("0.0.0", today, f"fold {out.name}", {}))
    model = load(out / BUNDLE, engine=plan.engine, threads=plan.threads)
    scores = []
    for name in fold.test:
        report(f"testing {name}")
        scores.append(_score(load_case(paths[name]), model, known=plan.level_steps == 0))
    write_scores(done, scores)
    return scores


def _common(paths: Mapping[str, Path]) -> Path:
    """Folder that `fit` finds every case below: theirs, or the one above."""
    folders = {path.parent for path in paths.values()}
    return folders.pop() if len(folders) == 1 else next(iter(folders)).parent


def _score(case: Case, model: LoadedModel, *, known: bool) -> CaseScore:
    used = replace(model, finder=KnownLevel(case)) if known else model
    return evaluate_case(case, used)[0]


def _level(
    fold: Fold,
    paths: Mapping[str, Path],
    shipped: Path,
    out: Path,
    plan: Plan,
    report: Callable[[str], None],
) -> Path:
    if plan.level_steps == 0:
        return shipped / LEVEL_WEIGHTS
    smalls = [small_of(load_case(paths[c])) for c in fold.train]
    network = fit_level(
        smalls,
        plan.level_steps,
        seed=plan.recipe.seed,
        report=lambda step, loss, _: report(f"level step {step}, loss {loss:.4f}"),
    )
    torch.save(network.state_dict(), out / LEVEL)
    return out / LEVEL


def write_scores(file: Path, scores: Sequence[CaseScore]) -> None:
    """Write the scores of one fold; a whole file or none."""
    part = file.with_suffix(".part")
    told = {"written": time.time(), "cases": [asdict(s) for s in scores]}
    part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def read_scores(file: Path) -> list[CaseScore]:
    """Scores of a finished fold."""
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    return [CaseScore(**case) for case in cases]


def together(folds: Sequence[Sequence[CaseScore] | None], plan: Plan) -> dict[str, Any]:
    """All finished folds as one table for JSON, and what is still missing."""
    scores = [s for fold in folds if fold for s in fold]
    how = f"found by a finder of the same fold, {plan.level_steps} steps" if plan.level_steps else "given"  # fmt: skip
    return {
        "folds": len(folds),
        "finished": sum(fold is not None for fold in folds),
        "steps": plan.recipe.steps,
        "level_by": how,
        **summary(scores),
        "cases": [asdict(s) for s in scores],
    }
