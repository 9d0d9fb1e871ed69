"""What an evaluation writes: the results file, and the fields of a bundle's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from dicomseg.segmentation import EngineInfo
from training.evaluate.case_results import CaseResult
from training.evaluate.model_uncertainty import card_values, model_errors
from training.evaluate.paper_values import SOURCE
from training.evaluate.summary import Group, groups

SCHEMA: Final = 1
RULES: Final = (
    "Scores on the case's own grid, inside the window that was analysed and the one about the true level.",
    "A missed level counts as Dice 0 for every structure of the case.",
    (
        "A structure in the reference only counts as Dice 0 and missed, one in the prediction only as Dice 0 and"
        " false positive; neither has a surface distance. A structure in neither does not count."
    ),
    (
        "HD95: the larger of the two directed 95th percentiles; ASSD: mean over both surfaces; mm between"
        " voxel centres."
    ),
    (
        "SD with n − 1. Limits of agreement: bias ± 1.96 SD. Wilcoxon signed-rank, normal approximation with"
        " tie correction, zero differences dropped (as SPSS). ICC(2,1): absolute agreement, single measurement."
    ),
    "Baselines know the true level and learn from at most eight cases of other patients.",
)


def about(info: EngineInfo) -> dict[str, str]:
    """Return the name of a bundle and what it ran on."""
    return {k: getattr(info, k) for k in ("name", "version", "digest", "engine", "precision")}


def results_json(
    cases: Sequence[CaseResult], bundle: Mapping[str, Any], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return everything as JSON values: the bundle, rules and notes, rows by group, each case."""
    return {
        "schema": SCHEMA,
        "bundle": dict(bundle),
        "notes": list(notes),
        "rules": RULES,
        "paper": SOURCE,
        **card_values(model_errors(cases)),
        "groups": [asdict(g) for g in groups(cases)],
        "cases": [c.to_dict() for c in cases],
    }


def card_json(cases: Sequence[CaseResult]) -> dict[str, Any]:
    """Return what `export --card` adds to a bundle's card: scores by group and the measurements' errors."""
    evaluation: dict[str, Any] = {"evaluation": [_card_entry(g) for g in groups(cases)]}
    return evaluation | card_values(model_errors(cases))


def _card_entry(group: Group) -> dict[str, Any]:
    """Return one group in a few values."""
    return {
        "cases": group.name,
        "n": group.cases,
        "level_within_8_mm": group.level.near,
        "dice": {
            r.structure: {k: round(getattr(r.dice, k), 3) for k in ("mean", "median", "least")}
            for r in group.structures
        },
        "measurements": {
            r.name: {
                "n": r.agreement.n,
                "mae_mm": round(r.agreement.error.mean, 3),
                "r": r.agreement.pearson_r,
            }
            for r in group.measurements
            if r.agreement is not None
        },
    }
