"""Where the level of a cross-validated case comes from: the case, the shipped finder, or a finder of the fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Volume
from model.bundle.card import LEVEL_WEIGHTS
from training.data.cases import Case
from training.data.folds import Fold
from training.evaluate.crossval_plan import (
    GIVEN,
    LEVEL,
    OWN,
    SHIPPED,
    Cohort,
    CrossvalPlan,
    in_no_fold,
    without,
)
from training.export import load_level_network
from training.fit.level import LevelRecipe, save_level, train_level, unfinished_file
from training.fit.level_samples import load_coarse_cases
from training.fit.locks import hold_lock


@dataclass(frozen=True, slots=True, eq=False)
class KnownLevel:
    """A finder that returns the true level of one case."""

    case: Case

    def locate(self, volume: Volume) -> Level | NotInView:  # noqa: ARG002 - the protocol's argument
        """Return the case's level, certain."""
        return Level(self.case.level_centre_lps, self.case.level_normal, 1.0)


def level_weights(
    fold: Fold, cohort: Cohort, folder: Path, plan: CrossvalPlan, report: Callable[[str], None]
) -> Path:
    """Return the weights of the level finder for the fold's bundle; trained first where the plan demands it.

    The last step's are tested, so the validation part chooses nothing and is trained on.
    """
    if plan.level in {GIVEN, SHIPPED}:
        return cohort.shipped / LEVEL_WEIGHTS
    if plan.level != OWN:
        return Path(plan.level)
    start = first_level(cohort, folder.parent, plan, report)
    cases = without(fold.test, cohort)
    return _train_level(folder / LEVEL, cases, plan.level_steps, plan, start, report)


def first_level(
    cohort: Cohort, out: Path, plan: CrossvalPlan, report: Callable[[str], None]
) -> Path | None:
    """Return the weights that the finders of all folds start from, trained first where they are not there; None: nothing."""
    if not plan.level_first:
        return None
    with hold_lock(out, LEVEL, report):
        return _train_level(out / LEVEL, in_no_fold(cohort), plan.level_first, plan, None, report)


def _train_level(
    file: Path,
    cases: Sequence[Path],
    steps: int,
    plan: CrossvalPlan,
    start: Path | None,
    report: Callable[[str], None],
) -> Path:
    """Train a finder into `file` if it does not exist; an interrupted training resumes."""
    keep = unfinished_file(file)
    if not file.exists():
        network = train_level(
            load_coarse_cases(cases),
            LevelRecipe(steps, plan.level_members, plan.recipe.seed, plan.recipe.mixed),
            start=None if start is None else load_level_network(start)[0].state_dict(),
            keep=keep,
            report=lambda step, loss: report(
                f"level step {step} of {plan.level_members * steps}, loss {loss:.4f}"
            ),
        )
        save_level(network, file)
    keep.unlink(missing_ok=True)
    return file
