"""What is wrong with the audit trail, for `doctor`: the findings of `verify` by kind, each with a count and a remedy."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from node.audit.step import open_trail, unkeyed_trail
from node.audit.verify import Finding, verify
from node.config.sections import Config
from node.errors import SecretUnusable
from node.journal.journal import Journal

SEE: Final = "`lumbar-node audit verify` names every line; restore the trail from a backup, or keep it as evidence"


class TrailFinding(NamedTuple):
    """A kind of fault. place: the first file that has it."""

    kind: str
    place: str
    remedy: str
    times: int


def trail_findings(config: Config, journal: Journal) -> list[TrailFinding]:
    """Return what is wrong with the trail of a node; one that was never written is in order. Raises OSError."""
    try:
        trail = open_trail(config)
    except SecretUnusable:  # a credential of the service, which is there while it runs
        trail = unkeyed_trail(config)
    anchors = journal.changes.anchors()
    if not anchors and not trail.segments():
        return []
    # A line that a kill cut off is removed by the next append.
    findings = [f for f in verify(trail, anchors).findings if f.kind != "part"]
    counts = Counter[str](f.kind for f in findings)
    firsts: dict[str, Finding] = {}
    for finding in findings:
        firsts.setdefault(finding.kind, finding)
    return [
        TrailFinding(
            f"audit-{kind}", str(trail.folder / first.segment), f"{first.text}; {SEE}", counts[kind]
        )
        for kind, first in firsts.items()
    ]
