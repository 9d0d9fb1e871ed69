"""Judge a series by the selection rules: which rule accepts it, or one sentence per reason why none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.predicates import PREDICATES, PredicateResult
from dicomseg.read.rules import HAS_ENOUGH_SLICES, Rule
from dicomseg.read.series import Grid, why_too_small

Value = Literal["yes", "no", "unknown"]


FLAIR_TI_MS: Final = 1500.0
"""Inversion times above it null fluid (FLAIR: 1800–2800 ms); those of STIR, which null fat, are
below 350 ms."""


BEGINNINGS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "is_mr": ("not an MR image", "cannot confirm an MR image"),
        "has_pixels": ("no pixels", "cannot confirm pixels"),
        "is_original": ("derived, not acquired", "cannot confirm an acquired image"),
        "is_original_or_reconstructed": (
            "computed, not acquired",
            "cannot confirm an acquired image",
        ),
        "not_our_result": ("a result, not an acquisition", "cannot rule out a result of this node"),
        "is_3d": ("not acquired in 3D", "cannot confirm a 3D acquisition"),
        "is_t2_space": (
            "not a 3D T2 SPACE acquisition",
            "cannot confirm a 3D T2 SPACE acquisition",
        ),
        "is_not_localizer": ("a localizer", "cannot rule out a localizer"),
        "is_lumbar": ("not the lumbar spine", "cannot confirm the lumbar spine"),
        "is_lumbar_or_unknown": ("not the lumbar spine", "cannot confirm the lumbar spine"),
        HAS_ENOUGH_SLICES: ("no usable volume", "cannot confirm a usable volume"),
    }
)
"""How a sentence about a predicate's "no" and about its "unknown" begins."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rules' answer: `rule` accepted (yes), or none did, with one sentence per reason."""

    value: Value
    rule: str | None
    reasons: tuple[str, ...]


def judge(
    instances: Sequence[Instance], grid: Grid | GeometryProblem | None, rules: Sequence[Rule]
) -> Verdict:
    """Judge one series by every rule; the first that accepts it decides.

    grid: result of `dicomseg.read.series.assemble`, or None if not computed (then predicates over the series
    are unknown). The reasons of a refusal are those of the rule that came nearest.
    """
    if not rules:
        return Verdict("no", None, ("no [[select.rule]] is configured",))
    verdicts = [_judge_one(instances, grid, rule) for rule in rules]
    for value in ("yes", "unknown"):
        for verdict in verdicts:
            if verdict.value == value:
                return verdict
    return min(verdicts, key=lambda v: len(v.reasons))


def could_accept(instance: Instance, rules: Sequence[Rule]) -> bool:
    """Whether a series with this header could still be accepted: False is a definite no."""
    return judge([instance], None, rules).value != "no"


def _judge_one(
    instances: Sequence[Instance], grid: Grid | GeometryProblem | None, rule: Rule
) -> Verdict:
    answers = [(name, _answer(name, instances, grid)) for name in rule.all]
    options = [(name, _answer(name, instances, grid)) for name in rule.any]
    if options and all(answer.value != "yes" for _, answer in options):
        answers += _best(options)
    for value in ("no", "unknown"):
        matching = [(name, a) for name, a in answers if a.value == value]
        # What the slices lack is of no interest where the header already says no.
        decisive = [m for m in matching if m[0] != HAS_ENOUGH_SLICES] or matching
        if decisive:
            return Verdict(value, rule.name, tuple(_sentence(name, a) for name, a in decisive))
    return Verdict("yes", rule.name, (_accepted(instances[0], rule),))


def _best(options: Sequence[tuple[str, PredicateResult]]) -> list[tuple[str, PredicateResult]]:
    """Return those answers to `any`, none of them yes, that are unknown, else all."""
    return [o for o in options if o[1].value == "unknown"] or list(options)


def _answer(
    name: str, instances: Sequence[Instance], grid: Grid | GeometryProblem | None
) -> PredicateResult:
    """One predicate over all instances: the worst answer, with its reason."""
    if name == HAS_ENOUGH_SLICES:
        return _enough(grid)
    examples: dict[Value, Instance] = {}
    answers: dict[Value, PredicateResult] = {}
    for instance in instances:
        answer = PREDICATES[name](instance)
        examples.setdefault(answer.value, instance)
        answers.setdefault(answer.value, answer)
    for value in ("no", "unknown"):
        if value in answers:
            reason = answers[value].reason + _contrast(name, examples[value])
            return PredicateResult(value, reason)
    return answers["yes"]


def _enough(grid: Grid | GeometryProblem | None) -> PredicateResult:
    if grid is None:
        return PredicateResult("unknown", "the slices were not examined")
    if isinstance(grid, GeometryProblem):
        return PredicateResult("no", grid.text)
    small = why_too_small(grid)
    return (
        PredicateResult("yes", f"{grid.shape[0]} slices")
        if small is None
        else PredicateResult("no", small)
    )


def _contrast(name: str, instance: Instance) -> str:
    """Name the contrast that an inversion time makes, for the reader of a refusal."""
    inversion = instance.inversion_time_ms
    if name != "is_t2_space" or not inversion:
        return ""
    return " (a FLAIR)" if inversion >= FLAIR_TI_MS else " (a STIR)" if inversion < 350 else ""


def _sentence(name: str, answer: PredicateResult) -> str:
    no, unknown = BEGINNINGS[name]
    return f"{no if answer.value == 'no' else unknown}: {answer.reason}"


def _accepted(instance: Instance, rule: Rule) -> str:
    key = "is_t2_space"
    reason = PREDICATES[key](instance).reason if key in rule.all else "all predicates are true"
    return f"rule {rule.name}: {reason}"
