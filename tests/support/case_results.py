"""Results of evaluated cases, made up."""

from __future__ import annotations

from dataclasses import replace

from training.evaluate.case_results import CaseResult, MeasuredPair
from training.evaluate.metrics import MISSED, Score


def case_result(name: str, dice: float, shift: float = 0.0, **changes: object) -> CaseResult:
    """Return a phantom's result: L4 with this Dice, L4 roots missed, values off by `shift` mm."""
    scores = {"l4": Score("scored", dice, dice, dice, 1.0, 0.4), "n4": MISSED}
    pairs = {
        n: MeasuredPair(v + shift, v, "truth")
        for n, v in (("OC", 9.0 + shift), ("DAA", 12.0), ("DIVC", 20.0 - dice), ("PI", 2.0))
    }
    base = CaseResult(name, f"P-{name}", "phantom", "physical", True, 1.5, 0.9, "", 2.0, scores, pairs,
        {"mean_shape": {"l4": 0.5, "n4": 0.1}, "threshold": {"l4": 0.2}})  # type: ignore[arg-type]  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]
