"""The copies judged by `node.verify`: every validator that is installed, and our own checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from node.accept.checks import Check, passes
from node.store.results import RESULT_FILE, read_result
from node.verify.folders import look_into
from node.verify.report import FolderReport, Report
from node.verify.run import OWN, verify

GROUP: Final = "Validators"
_MOST: Final = 3


def validator_checks(
    copies: Mapping[str, Path], result_folder: Path, folder: Path
) -> Iterator[Check]:
    """Judge the copies of a result. copies: by the name under which each was sent. folder: is made."""
    _lay_out(copies, result_folder, folder)
    report = verify([look_into(folder, sorted(p.name for p in folder.iterdir()))], lambda _: None)
    yield from report_checks(report)


def report_checks(report: Report) -> Iterator[Check]:
    """Return a check for each tool, and one for our own checks (pure)."""
    judged = report.folders[0]
    for tool in dict.fromkeys(t.tool for t in report.tools):
        used = [t for t in report.tools if t.tool == tool and not t.remedy]
        what = " ".join(filter(None, (used_name(tool), used[0].version if used else "")))
        if used:
            yield _tool_check(judged, tool, what)
        else:
            remedy = next(t.remedy for t in report.tools if t.tool == tool)
            yield Check(
                GROUP, used_name(tool), "no errors", "not installed", "not possible", remedy
            )
    if any(a.tool == OWN for a in judged.answers):
        yield _tool_check(judged, OWN, "Our own checks of a result")


def used_name(tool: str) -> str:
    """Return the name of a column as its program is known."""
    return {"validator": "dicom-validator", "dicomweb": "dicomweb-client"}.get(tool, tool)


def _tool_check(judged: FolderReport, tool: str, what: str) -> Check:
    answers = [a for a in judged.answers if a.tool == tool]
    errors = [(a.name, f.text) for a in answers for f in a.findings if f.severity == "error"]
    warnings = sum(a.count("warning") for a in answers)
    known = sum(a.count("known") for a in answers)
    seen = f"{len(errors)} errors" if errors else "no errors"
    seen += f", {warnings} warnings" if warnings else ""
    seen += f", {known} known and harmless" if known else ""
    lines = tuple(f"{name}: {text}" for name, text in errors)
    remedy = "; ".join(lines[:_MOST])
    return Check(GROUP, what, "no errors", seen, passes(not errors), remedy, details=lines)


def _lay_out(copies: Mapping[str, Path], result_folder: Path, folder: Path) -> None:
    """Write the copies as a result folder; `result.json` gets their digests, an archive may write a file differently."""
    folder.mkdir(mode=0o700)
    for name, path in copies.items():
        (folder / name).write_bytes(path.read_bytes())
    result = read_result(result_folder)
    listed = result.get("objects", [])
    if {o["file"] for o in listed} != set(copies):
        return  # our own checks are of complete results in their usual form
    result["objects"] = [_digested(o, copies[o["file"]]) for o in listed]
    result.pop("files", None)
    (folder / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")


def _digested(entry: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return {**entry, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
