"""What would reject a candidate for certain, or weaken its comparison, as far as that is known before the first step.

A retraining takes hours. Its held-out set, cases, recipe and disk are looked at first, then the results of the model in
service on the held-out cases, which the comparison needs in any case.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.structures import STRUCTURES
from model.bundle.card import WEIGHTS
from training.data.cases import list_cases, read_card_value
from training.errors import NoSpaceLeft, RetrainRefused
from training.evaluate.case_results import CaseResult
from training.fit.loop import Trainer
from training.fit.recipe import Recipe
from training.retrain.gate import MIN_PAIRS

MB: Final = 1_000_000
NAMED: Final = 3
"""Cases that a line names."""


@dataclass(frozen=True, slots=True)
class Findings:
    """refusals: what rejects for certain, with what to do. notes: what makes the comparison weaker."""

    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def raise_if_refused(self) -> None:
        """Raise `RetrainRefused` with a line per refusal, if there is one."""
        if self.refusals:
            raise RetrainRefused(self.refusals)


def check_cases(cases: Path, held: Sequence[Path], recipe: Recipe) -> Findings:
    """Look at the cards of all cases. recipe: with the cases of held-out patients in `held_out`.

    Raises:
        CaseUnreadable: a case without a readable card.
    """
    trained = [p for p in list_cases(cases) if p.stem not in recipe.held_out]
    labelled = {p: _texts(read_card_value(p, "labelled")) for p in (*held, *trained)}
    refusals, notes = [], []
    if not trained:
        refusals.append(
            f"every case below {cases} is of a held-out patient, so none is left to train on; add cases, or hold out"
            " fewer"
        )
    few = {}
    for structure in (s.id for s in STRUCTURES):
        count = sum(structure in labelled[p] for p in held)
        if not count:
            refusals.append(_no_pair(structure, [p for p in trained if structure in labelled[p]]))
        elif count < MIN_PAIRS:
            few[structure] = count
        if trained and not any(structure in labelled[p] for p in trained):
            notes.append(
                f"{structure}: no case to train on has it labelled; the candidate may lose what the model in service"
                " knows of it"
            )
    if few:
        notes.append(
            f"{', '.join(few)}: {min(few.values())} to {max(few.values())} held-out cases are too few to prove a"
            f" difference within the margin, which alone will decide; hold out at least {MIN_PAIRS}, better 20"
        )
    further = len(set(recipe.held_out) - {p.stem for p in held})
    if further:
        notes.append(
            f"{further} further cases of held-out patients lie below {cases} and are not trained on"
        )
    return Findings(tuple(refusals), tuple(notes))


def _texts(value: object) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def _no_pair(structure: str, trained: Sequence[Path]) -> str:
    """Return the refusal of a structure that no held-out case has, with a case that could be held out."""
    what = f"{structure}: no held-out case has it labelled, so it cannot be compared; "
    if not trained:
        return f"{what}prepare a case that has, and hold it out"
    return f"{what}hold one out too, e.g. `lumbar-train held-out … --case {trained[0].stem}`"


def check_disk(out: Path, bundle: Path, held: int) -> None:
    """Refuse a disk without room for checkpoint, candidate, and labels of `held` cases by both models.

    Raises:
        NoSpaceLeft: with both numbers.
    """
    near = next(p for p in (out, *out.absolute().parents) if p.is_dir())
    files = sum(f.stat().st_size for f in bundle.iterdir() if f.is_file())
    weights = (bundle / WEIGHTS).stat().st_size if (bundle / WEIGHTS).exists() else 0
    # Weights, their average and two moments of the optimiser, the last checkpoint beside the next; two candidates.
    need = 2 * 4 * weights + 2 * files + 2 * held * MB + 10 * MB
    free = shutil.disk_usage(near).free
    if free < need:
        raise NoSpaceLeft(
            f"{out}: a retraining writes about {need // MB} MB, {free // MB} MB are free; free some, or choose another"
            " --out"
        )


def check_results(in_service: Sequence[CaseResult]) -> Findings:
    """Look at the results of the model in service, whose level finder the candidate takes over."""
    missed = [r for r in in_service if r.level_error_mm is None]
    if len(missed) == len(in_service):
        why = missed[0].why if missed else "no case"
        text = (
            f"the level finder finds the level in none of {len(in_service)} held-out cases ({why}), and a candidate"
            " takes it over, so nothing could be compared; train one with `lumbar-train level`, or hold out images that"
            " show L4/5"
        )
        return Findings((text,))
    absent = [s.id for s in STRUCTURES if not any(s.id in r.scores for r in in_service)]
    refusals = tuple(
        f"{name}: no held-out case shows it near the level, so it cannot be compared; hold out one that does"
        for name in absent
    )
    notes = []
    if missed:
        names = ", ".join(r.case_id for r in missed[:NAMED])
        more = f" and {len(missed) - NAMED} more" if len(missed) > NAMED else ""
        notes.append(
            f"{names}{more}: the level is missed and the finder is taken over, so Dice will be 0 by both models and"
            " nothing measured"
        )
    for name in MAIN_MEASUREMENTS:
        pairs = [r.measurements[name] for r in in_service if name in r.measurements]
        known = [p for p in pairs if p.reference_mm is not None]
        if not known:
            notes.append(f"{name}: no held-out case has a reference; it will not be compared")
        elif all(p.automatic_mm is None for p in known):
            notes.append(
                f"{name}: the model in service measures none of {len(known)} held-out cases; only refusals will count"
            )
        elif len(known) < MIN_PAIRS:
            notes.append(
                f"{name}: {len(known)} held-out cases with a reference prove little; the margin alone will decide"
            )
    return Findings(refusals, tuple(notes))


def check_time(trainer: Trainer[Any], max_minutes: float) -> Findings:
    """Note a time limit that ends the training before its last step, by the time of one trial step.

    The step is computed on a copy of the network and changes nothing.
    """
    left = trainer.training.steps - trainer.step
    if left <= 0 or not 0 < max_minutes < float("inf"):
        return Findings()
    network: nn.Module = copy.deepcopy(trainer.network)
    network.train(trainer.step < trainer.norm_steps)
    begin = time.monotonic()
    trainer.training.gradients(network, trainer.step)
    return Findings(notes=time_notes(trainer.step, left, time.monotonic() - begin, max_minutes))


def time_notes(step: int, left: int, seconds: float, max_minutes: float) -> tuple[str, ...]:
    """Return the note about a time limit; nothing where it suffices. seconds: of one step."""
    total = left * seconds / 60
    if total <= max_minutes:
        return ()
    reached = step + int(max_minutes * 60 / seconds)
    text = (
        f"{left} steps of about {seconds:.1f} s take {total:.0f} minutes: the limit of {max_minutes:g} ends the training"
        f" near step {reached} without a comparison; the same command (of a node: `jobs enqueue JOB`) continues, or"
        " raise the limit"
    )
    return (text,)
