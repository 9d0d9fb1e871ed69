"""What of a cross-validation's folder goes to a worker, and how a fold comes back into it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from training.data.folds import Fold
from training.evaluate.crossval import BUNDLE
from training.evaluate.crossval_plan import (
    FIRST,
    GIVEN,
    LEVEL,
    OWN,
    SHIPPED,
    START,
    Cohort,
    CrossvalPlan,
)
from training.evaluate.crossval_results import CASES
from training.fit.locks import hold_lock
from training.spread.parcel import pack, unpack
from training.spread.remote import Job, Made


def job_of(
    number: int,
    name: str,
    fold: Fold,
    cohort: Cohort,
    out: Path,
    plan: CrossvalPlan,
    silent_s: float,
) -> Job:
    """Return a fold's job with what it begins with: what all folds share, and what was made of it before."""
    names = [f"{FIRST}/{BUNDLE}"] if plan.first else []
    names += [START] if plan.start and not plan.first else []
    names += [LEVEL] if plan.level_first else []
    names += [f"{CASES}/{case}{end}" for case in fold.test for end in (".json", ".npz")]
    level = b"" if plan.level in {GIVEN, OWN, SHIPPED} else Path(plan.level).read_bytes()
    parcel = pack(out, (*names, f"fold-{number}"))
    return Job(name, number, fold, plan, tuple(cohort.paths), parcel, silent_s, level)


def keep(number: int, made: Made, out: Path) -> None:
    """Replace the folder of a fold by what came back."""
    name = f"fold-{number}"
    with hold_lock(out, name, lambda _: None), tempfile.TemporaryDirectory(dir=out) as here:
        came = Path(here)
        unpack(made.parcel, came)
        (out / CASES).mkdir(exist_ok=True)
        for path in sorted((came / CASES).glob("*")):
            path.replace(out / CASES / path.name)
        shutil.rmtree(out / name, ignore_errors=True)
        (came / name).rename(out / name)
