"""What the output of a program says of the object that it was run on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from node.verify.child import Ended
from node.verify.reading import (
    Reading,
    differences,
    reading_of,
    report_reading,
    segments_reading,
)
from node.verify.report import Finding


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program on one object: its folder, how it ended, and what we find in the object ourselves."""

    scratch: Path
    ended: Ended
    facts: Reading


Judge = Callable[[Run], Iterator[Finding]]
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RecursionError)
"""What an answer of another form than expected raises."""


def dciodvfy(run: Run) -> Iterator[Finding]:
    """`Error - …` and `Warning - …`; a truncated file is a warning of the tool, with status 0."""
    for line in run.ended.lines:
        kind, dash, text = line.partition(" - ")
        if dash and kind in {"Error", "Warning"}:
            cut = text.startswith("Tag read failed")
            yield Finding("error" if cut or kind == "Error" else "warning", text)


def dcmtk(run: Run) -> Iterator[Finding]:
    """`F: …`, `E: …` and `W: …`, and an exit status other than 0."""
    lines = [re.match(r"([FEW]): (.*)", line) for line in run.ended.lines]
    found = [Finding("warning" if m[1] == "W" else "error", m[2]) for m in lines if m]
    yield from found
    if run.ended.status > 0 and all(f.severity != "error" for f in found):
        yield _failed(run.ended)


def reader(read: Callable[[Run], Reading]) -> Judge:
    """Return a judge that compares what a reader found with what we find."""

    def judge(run: Run) -> Iterator[Finding]:
        if run.ended.status > 0:
            yield _failed(run.ended)
            return
        try:
            yield from (Finding("error", text) for text in differences(run.facts, read(run)))
        except UNREADABLE as error:
            yield Finding("error", f"its answer cannot be read ({type(error).__name__})")

    return judge


def dcmqi(read: Callable[[Run], Reading]) -> Judge:
    """Return a judge that also passes on the warnings of dcmqi."""
    compare = reader(read)

    def judge(run: Run) -> Iterator[Finding]:
        yield from compare(run)
        for line in run.ended.lines:
            if re.match(r"(Warning|Error|ERROR|Found concept)", line):
                yield Finding("error" if line.lower().startswith("error") else "warning", line)

    return judge


def lines(run: Run) -> Iterator[Finding]:
    """One finding per line of the output."""
    if run.ended.status > 0:
        yield _failed(run.ended)
        return
    yield from (Finding("error", line) for line in run.ended.output.splitlines())


def _failed(ended: Ended) -> Finding:
    """The last line names the error in programs of Python and C++ alike."""
    last = ended.errors.splitlines() or ended.output.splitlines()
    return Finding("error", f"exit status {ended.status}: {last[-1] if last else 'no message'}")


def validator(run: Run) -> Iterator[Finding]:
    """Lines of `validate_iods` about a tag: its status counts them."""
    for line in run.ended.lines:
        if line.startswith("Tag "):
            yield Finding("error", line)
    if run.ended.status > 0 and not any(line.startswith("Tag ") for line in run.ended.lines):
        yield _failed(run.ended)


def highdicom_reading(run: Run) -> Reading:
    """Return what `read_highdicom` printed."""
    return reading_of(json.loads(run.ended.output))


def dcmqi_report(run: Run) -> Reading:
    """Return what `tid1500reader` wrote."""
    return report_reading(run.scratch / "report.json")


def dcmqi_segments(run: Run) -> Reading:
    """Return what `segimage2itkimage` wrote."""
    return segments_reading(run.scratch)
