"""One line per scenario, on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.fault.verdict import COLUMNS, Verdict

_HEAD: Final = ("scenario", "runs", "acknowledged", *COLUMNS, "s")


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one scenario. skipped: why it did not run."""

    name: str
    title: str
    runs: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    unexplained: int = 0
    seconds: float = 0.0
    skipped: str = ""
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        runs: int,
        verdict: Verdict,
        seconds: float,
        notes: Sequence[str],
    ) -> Row:
        """Count a verdict."""
        counts = {c: verdict.count(c) for c in COLUMNS}
        findings = tuple(f"{c}: {s}" for c in COLUMNS for s in verdict.findings[c][:20])
        return cls(
            name, title, runs, verdict.acknowledged, **counts, seconds=round(seconds, 1),
            findings=findings, notes=tuple(notes),
        )  # fmt: skip

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, stuck or unexplained."""
        return not (self.lost or self.doubled or self.stuck or self.unexplained)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its counts as texts."""
        counts = (
            self.runs,
            self.acknowledged,
            self.lost,
            self.doubled,
            self.stuck,
            self.unexplained,
        )
        if self.skipped:
            return ("–",) * (len(_HEAD) - 1)
        return (*(f"{c:,}" for c in counts), f"{self.seconds:.0f}")


def total(rows: Sequence[Row]) -> Row:
    """Return the sum of all rows."""
    counts = {c: sum(getattr(r, c) for r in rows) for c in ("runs", "acknowledged", *COLUMNS)}
    return Row("all", "all", **counts, seconds=sum(r.seconds for r in rows))


def text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    cells = [_HEAD, *((r.name, *r.cells) for r in (*rows, total(rows)))]
    widths = [max(len(c[n]) for c in cells) for n in range(len(_HEAD))]
    lines = [
        "  ".join(
            [c[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(c[1:], widths[1:], strict=True))]
        )
        for c in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, lines[1])
    for row in rows:
        lines += [f"  {row.name}: skipped, {row.skipped}"] if row.skipped else []
        lines += [f"  {row.name}: {note}" for note in row.notes]
        lines += [f"! {row.name}: {finding}" for finding in row.findings]
    return "\n".join(lines)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for a document."""
    lines = ["| " + " | ".join(_HEAD[:-1]) + " |", "|---|" + "---:|" * (len(_HEAD) - 2)]
    return "\n".join(
        [
            *lines,
            *("| " + " | ".join((r.title, *r.cells[:-1])) + " |" for r in (*rows, total(rows))),
        ]
    )


def as_json(rows: Sequence[Row], **facts: Any) -> dict[str, Any]:
    """Return everything, for a file."""
    return {**facts, "rows": [asdict(r) for r in rows]}
