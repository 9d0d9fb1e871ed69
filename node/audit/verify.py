"""Verify the audit trail: every hash, every number, the end, and the anchors that the journal keeps."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from node.audit.entry import NO_HASH, Line, hash_of
from node.audit.trail import Found, Head, Trail

MOST_FINDINGS: Final = 50

Kind = Literal[
    "unreadable", "altered", "chain", "missing", "truncated", "unkeyed", "anchor", "part"
]
"""What can be wrong.

unreadable: not a line of a trail. altered: its hash is not that of its bytes. chain: it names another line as the one
before. missing: lines are missing before it. truncated: the trail ends before the line that `head.json` names.
unkeyed: it has no keyed hash, and should. anchor: the journal noted another hash for this number. part: it was
written in part, by a kill or on a full disk; the next append removes it.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. segment, line: file and line in it; line 0 is behind the last."""

    kind: Kind
    segment: str
    line: int
    text: str


@dataclass(slots=True)
class Report:
    """What was found. first, last: numbers of the lines that are there; hash: of the last line."""

    lines: int = 0
    keyed: int = 0
    unverified: int = 0
    segments: int = 0
    first: int = 0
    last: int = 0
    hash: str = NO_HASH
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong that a kill cannot cause."""
        return all(f.kind == "part" for f in self.findings)

    def add(self, kind: Kind, found: Found | None, text: str) -> None:
        """Add a finding, unless there are too many to read."""
        if len(self.findings) < MOST_FINDINGS:
            name, number = ("", 0) if found is None else (found.path.name, found.number)
            self.findings.append(Finding(kind, name, number, text))


def verify(trail: Trail, anchors: Mapping[int, str]) -> Report:
    """Read the trail once; changes nothing. anchors: hash by number, as kept elsewhere."""
    head = trail.recorded_head()  # first: a running node appends meanwhile
    report = Report()
    seen: dict[int, str] = {}
    last_segment = ""
    for found in trail.lines():
        report.segments += found.path.name != last_segment
        last_segment = found.path.name
        line = found.line
        if line is None:
            if found.is_part:
                report.add("part", found, "the line is not complete: a kill while it was written")
            else:
                report.add("unreadable", found, "this is not a line of an audit trail")
            continue
        _check_hash(report, found, line, trail.key)
        _check_place(report, found, line)
        if line.number in anchors:
            seen[line.number] = line.hash
        report.first = report.first or line.number
        report.lines, report.keyed = report.lines + 1, report.keyed + line.is_keyed
        report.last, report.hash = line.number, line.hash
    if trail.key and report.lines and not report.keyed:
        report.add("unkeyed", None, "no entry has a keyed hash, although a key is configured")
    _check_end(report, head)
    _check_anchors(report, anchors, seen)
    return report


def _check_hash(report: Report, found: Found, line: Line, key: bytes) -> None:
    if line.is_keyed and not key:
        report.unverified += 1
    elif not hmac.compare_digest(hash_of(line.body, key if line.is_keyed else b""), line.hash):
        report.add("altered", found, f"entry {line.number}: its hash is not that of its content")
    if report.keyed and not line.is_keyed:
        report.add("unkeyed", found, f"entry {line.number}: it has no keyed hash")


def _check_place(report: Report, found: Found, line: Line) -> None:
    if not report.last:
        if line.number == 1 and line.previous != NO_HASH:
            report.add("chain", found, "entry 1 names an entry before it")
        return
    between = line.number - report.last - 1
    if between > 0:
        span = f"{report.last + 1}" if between == 1 else f"{report.last + 1} to {line.number - 1}"
        report.add("missing", found, f"entries missing before {line.number}: {span}")
    elif between < 0:
        report.add("chain", found, f"entry {line.number} follows entry {report.last}")
    elif line.previous != report.hash:
        report.add("chain", found, f"entry {line.number} was not written after this {report.last}")


def _check_end(report: Report, head: Head | None) -> None:
    if head is None:
        if report.lines:
            report.add(
                "truncated", None, "head.json is missing: whether the end is there is not known"
            )
    elif head.number > report.last:
        report.add(
            "truncated", None, f"entries missing at the end: {report.last + 1} to {head.number}"
        )
    elif head.number == report.last and head.hash != report.hash:
        report.add("chain", None, f"entry {report.last} is another than head.json names")


def _check_anchors(report: Report, anchors: Mapping[int, str], seen: Mapping[int, str]) -> None:
    for number, digest in anchors.items():
        if number < report.first:
            continue  # its segment was moved away
        if number not in seen:
            report.add("anchor", None, f"entry {number} is missing: the journal noted its hash")
        elif seen[number] != digest:
            report.add("anchor", None, f"entry {number} has another hash than the journal noted")
