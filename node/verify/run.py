"""Judge folders: every tool on every object that it is for, our own checks, known findings marked as such."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.verify import tools
from node.verify.child import own_module, run_child
from node.verify.folders import Folder
from node.verify.judges import UNREADABLE, Run
from node.verify.known import graded
from node.verify.reading import Reading, reading_of
from node.verify.report import TOGETHER, Answer, Finding, FolderReport, Installed, Report, merged
from node.verify.tools import BETWEEN, TOOLS, Tool
from node.verify.versions import version_of

OWN: Final = "own"
"""Column of our own checks."""


@dataclass(frozen=True, slots=True)
class Found:
    """A tool and the path of its program."""

    tool: Tool
    program: str


def verify(folders: Sequence[Folder], progress: Callable[[str], None]) -> Report:
    """Judge folders by every tool that is installed. progress: is given the name of each folder."""
    found = [Found(t, p) for t in (*TOOLS, BETWEEN) if (p := tools.located(t)) is not None]
    reports = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for folder in folders:
            progress(folder.path.name)
            reports.append(_judge(folder, found, pool))
    skipped = tuple(line for folder in folders for line in folder.skipped)
    return Report(tuple(_installed(found)), tuple(reports), skipped)


def _judge(folder: Folder, found: Sequence[Found], pool: ThreadPoolExecutor) -> FolderReport:
    own, facts = _own_checks(folder)
    jobs = [
        (f, name)
        for name, sop_class in folder.objects.items()
        for f in found
        if f.tool is not BETWEEN and f.tool.applies(sop_class)
    ]
    answers = list(
        pool.map(lambda job: _ask(folder, job[0], job[1], facts.get(job[1], Reading())), jobs)
    )
    answers += [_compare(folder, f) for f in found if f.tool is BETWEEN and folder.objects]
    names = (*folder.objects, *folder.damaged)
    further = dict.fromkeys(a.name for a in own if a.name not in (*names, TOGETHER))
    return FolderReport(
        str(folder.path), (*names, *further, TOGETHER), tuple(_joined([*answers, *own]))
    )


def _ask(folder: Folder, found: Found, name: str, facts: Reading) -> Answer:
    """Run one tool on one object."""
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as place:
        scratch = Path(place)
        command = found.tool.command(found.program, folder.path / name, scratch)
        ended = run_child(command, scratch)
        if ended.failure:
            return Answer(
                found.tool.name, name, (Finding("error", f"{_program(found)}: {ended.failure}"),)
            )
        findings = list(found.tool.judge(Run(scratch, ended, facts)))
    sop_class = folder.objects[name]
    return Answer(
        found.tool.name, name, tuple(graded(found.tool.name, sop_class, f) for f in findings)
    )


def _compare(folder: Folder, found: Found) -> Answer:
    """Run the tool that compares all objects of a folder."""
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as place:
        paths = [folder.path / name for name in folder.objects]
        ended = run_child([found.program, *paths], Path(place))
        if ended.failure:
            return Answer(found.tool.name, TOGETHER, (Finding("error", ended.failure),))
        findings = list(found.tool.judge(Run(Path(place), ended, Reading())))
    return Answer(
        found.tool.name, TOGETHER, tuple(graded(found.tool.name, "", f) for f in findings)
    )


def _own_checks(folder: Folder) -> tuple[list[Answer], dict[str, Reading]]:
    """Run our own checks; returns their answers, and what they find in each object."""
    answers = [Answer(OWN, n, (Finding("error", text),)) for n, text in folder.damaged.items()]
    if folder.has_result:
        answers += [Answer(OWN, name) for name in (*folder.objects, TOGETHER)]
    with tempfile.TemporaryDirectory(prefix="lumbar-node-") as place:
        ended = run_child(own_module("own", folder.path, *folder.objects), Path(place))
    try:
        answer = json.loads(ended.output)
        facts = {str(name): reading_of(value) for name, value in answer["facts"].items()}
        complaints = [(str(name), str(text)) for name, text in answer["complaints"]]
    except UNREADABLE:
        why = ended.failure or f"exit status {ended.status}"
        return [
            *answers,
            Answer(OWN, TOGETHER, (Finding("error", f"the checks ended: {why}"),)),
        ], {}
    for name, text in complaints:
        answers.append(Answer(OWN, name or TOGETHER, (Finding("error", text),)))
    return answers, facts


def _joined(answers: Sequence[Answer]) -> Iterator[Answer]:
    """Join the answers of one column about one object."""
    by_cell: dict[tuple[str, str], list[Finding]] = {}
    for answer in answers:
        by_cell.setdefault((answer.tool, answer.name), []).extend(answer.findings)
    for (tool, name), findings in by_cell.items():
        yield Answer(tool, name, merged(findings))


def _installed(found: Sequence[Found]) -> Iterator[Installed]:
    """Say of every program whether it was used, and how it is installed where it is absent."""
    programs: Mapping[str, str] = {f.tool.program: f.program for f in found}
    for tool in (*TOOLS, BETWEEN):
        shown = tool.program.removeprefix("package:").replace("|", " or ")
        if tool.program in programs:
            yield Installed(tool.name, shown, version_of(tool, programs[tool.program]))
        else:
            yield Installed(tool.name, shown, "", tools.REMEDIES[tool.name])


def _program(found: Found) -> str:
    return (
        Path(found.program).name
        if not found.tool.program.startswith("package:")
        else found.tool.name
    )
