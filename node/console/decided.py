"""What was decided of a result, what is in doubt of it, and whether a visitor may decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.console.console import Console, Visitor
from node.console.words import moment
from node.journal.reviews import REJECTIONS, Decision
from node.journal.rows import ResultRow


def review_of(console: Console, visitor: Visitor, result: ResultRow | None) -> Mapping[str, Any]:
    """Return the review of the newest result of a series. doubts: None where it counts no more or was not weighed."""
    if result is None:
        return {"made": Decision(), "at": "", "reason": "", "doubts": None, "may": False}
    reviews = console.journal.reviews
    made = reviews.decision(result.result_id)
    counts = not result.superseded_because and result.purged_at is None
    return {
        "made": made,
        "at": moment(made.at),
        "reason": REJECTIONS.get(made.reason, made.reason),
        "doubts": reviews.doubts(result.result_id) if counts else None,
        "may": counts and not made.verdict and visitor.role.reviews,
    }
