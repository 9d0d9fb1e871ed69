"""What validators say of objects: findings by tool and object, and which tools are absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "known"]

TOGETHER: Final = "(together)"
"""The object of what is wrong between objects."""
TEXT_LENGTH: Final = 240
"""Characters kept of one finding."""
MOST_TEXTS: Final = 40
"""Different findings kept of one tool on one object; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a tool says of an object, and how often it says it."""

    severity: Severity
    text: str
    count: int = 1
    reason: str = ""
    """Why a known finding is harmless."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one tool says of one object; without findings the object is accepted."""

    tool: str
    name: str
    """Name of the object's file in its folder, or `TOGETHER`."""
    findings: tuple[Finding, ...] = ()

    def count(self, severity: Severity) -> int:
        """Return how many findings of a severity there are, repetitions included."""
        return sum(f.count for f in self.findings if f.severity == severity)


@dataclass(frozen=True, slots=True)
class FolderReport:
    """The answers about one folder; names: its objects in order, `TOGETHER` last."""

    folder: str
    names: tuple[str, ...]
    answers: tuple[Answer, ...]

    def answer(self, tool: str, name: str) -> Answer | None:
        """Return the answer of a tool about an object, None where it does not apply or is not installed."""
        return next((a for a in self.answers if (a.tool, a.name) == (tool, name)), None)


@dataclass(frozen=True, slots=True)
class Installed:
    """One tool: its version, or how it is installed where it is absent."""

    tool: str
    program: str
    version: str
    remedy: str = ""
    """Why it was not used and what to do; "" where it was."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `lumbar-node verify` found."""

    tools: tuple[Installed, ...]
    folders: tuple[FolderReport, ...]
    skipped: tuple[str, ...] = ()
    """Files that were not judged, each with its reason."""

    def count(self, severity: Severity) -> int:
        """Return the number of findings of a severity in all folders."""
        return sum(a.count(severity) for f in self.folders for a in f.answers)


def printable(text: str) -> str:
    """Return a text without control characters, cut to `TEXT_LENGTH`: names and outputs are untrusted."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= TEXT_LENGTH else f"{clean[: TEXT_LENGTH - 1]}…"


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Join equal findings into one with their count, errors first; at most `MOST_TEXTS` different ones."""
    counts: Counter[tuple[Severity, str, str]] = Counter()
    for f in findings:
        counts[f.severity, printable(f.text), f.reason] += f.count
    rank = {"error": 0, "warning": 1, "known": 2}
    rows = sorted(counts.items(), key=lambda item: rank[item[0][0]])
    kept = [Finding(s, text, n, reason) for (s, text, reason), n in rows[:MOST_TEXTS]]
    return (*kept, *_others(rows[MOST_TEXTS:]))


def _others(rows: Sequence[tuple[tuple[Severity, str, str], int]]) -> list[Finding]:
    left: Counter[Severity] = Counter()
    for (severity, _, _), n in rows:
        left[severity] += n
    return [Finding(s, "further findings", n) for s, n in left.items()]
