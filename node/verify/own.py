"""Our own checks of one folder, as a program: `python -m node.verify.own FOLDER FILE…` prints JSON.

A program of its own, because its input is untrusted: an object may take more memory or time than there is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.store.results import RESULT_FILE, read_result
from node.verify import (
    check_files,
    check_followup,
    check_identity,
    check_references,
    check_values,
    check_verified,
)
from node.verify.check_identity import Complaint
from node.verify.facts import facts_of
from node.verify.objects import ResultSet

Check = Callable[[ResultSet], Iterator[Complaint]]

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("the files are those that were written", check_files.files_are_those_written),
    ("patient, study, request, node and time are the same", check_identity.same_identity),
    ("texts are readable", check_identity.texts_are_readable),
    ("the scanner is the Acquisition Equipment", check_identity.same_scanner),
    ("one frame of reference", check_identity.one_space),
    ("every object names the predecessor", check_identity.same_predecessor),
    ("unverified and for research", check_identity.only_research),
    ("references resolve", check_references.references_resolve),
    ("evidence is complete", check_references.evidence_is_complete),
    ("segments exist", check_references.segments_exist),
    ("values are the distance of their end points", check_values.lines_have_their_length),
    ("values of result.json are reported", check_values.values_are_reported),
    ("volumes agree with the voxels", check_values.volumes_agree),
    ("warnings are reported", check_values.warnings_are_reported),
    ("no Dice value", check_values.nothing_claims_a_score),
    ("the PDF has one page", check_files.documents_have_a_page),
    ("surfaces are closed", check_files.surfaces_are_closed),
)
"""Our own checks of a result, each a pure function but for reading its files."""


OF_FOLLOWUPS: Final[tuple[tuple[str, Check], ...]] = (
    ("the files are those that were written", check_files.files_are_those_written),
    ("patient, study, request, node and time are the same", check_identity.same_identity),
    ("texts are readable", check_identity.texts_are_readable),
    ("every object names the predecessor", check_identity.same_predecessor),
    ("unverified and for research", check_identity.only_research),
    ("evidence is complete", check_followup.evidence_is_complete),
    ("values of result.json are reported", check_followup.values_are_reported),
    ("changes are differences, and verdicts follow from them", check_followup.changes_follow),
    ("no Dice value", check_values.nothing_claims_a_score),
    ("the PDF has one page", check_files.documents_have_a_page),
)
"""Those of a follow-up."""


def complaints(results: ResultSet) -> Iterator[Complaint]:
    """Yield what the checks find; one that an object's form makes impossible is itself a complaint."""
    is_followup = results.result.get("kind") == check_followup.KIND
    for name, check in OF_FOLLOWUPS if is_followup else CHECKS:
        try:
            yield from list(check(results))
        except Exception as error:  # noqa: BLE001 - the other checks are still made
            yield "", f"cannot check whether {name} ({type(error).__name__})"


def read_set(folder: Path, names: Sequence[str]) -> tuple[ResultSet, list[Complaint]]:
    """Read the objects of a folder; returns them, and which cannot be read."""
    objects: dict[str, Dataset] = {}
    unreadable = []
    for name in names:
        try:
            objects[name] = _read(folder / name)
        except Exception as error:  # noqa: BLE001 - a damaged object is a finding
            unreadable.append((name, f"cannot be read ({type(error).__name__})"))
    return ResultSet(folder, read_result(folder), objects), unreadable


def _read(path: Path) -> Dataset:
    ds = dcmread(path)
    ds.walk(lambda _, element: element.value)  # values are converted when they are read
    return ds


def report(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return complaints about a folder, and what we find in its objects; without `result.json` only the latter."""
    results, found = read_set(folder, names)
    facts = {}
    for name, ds in results.objects.items():
        try:
            facts[name] = facts_of(ds).to_json()
        except Exception as error:  # noqa: BLE001 - a damaged object is a finding
            found.append((name, f"its content cannot be read ({type(error).__name__})"))
    if results.result:
        found += complaints(results)
    else:
        found += check_verified.verified_reports(results)
    if not results.result and (folder / RESULT_FILE).exists():
        found.append(("", f"{RESULT_FILE} cannot be read"))
    return {"complaints": found, "facts": facts}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report(Path(sys.argv[1]), sys.argv[2:])))
