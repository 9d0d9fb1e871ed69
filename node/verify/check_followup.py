"""Checks of a follow-up: its evidence, its values, and that every change and verdict follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomseg.compare.change import Reading, compare
from dicomseg.read import attributes
from node.verify.check_identity import Complaint
from node.verify.objects import (
    ResultSet,
    concept,
    content,
    groups,
    quantity_name,
    tracking,
    value_of,
)

KIND: Final = "followup"
"""What `result.json` of a follow-up says that it is."""
TOLERANCE: Final = 0.006
"""Numbers of a report have two to four decimals."""
_CHANGE, _LIMIT, _VERDICT = "CHANGE", "CHANGELIMIT", "CHANGEVERDICT"
_DOUBTS: Final = frozenset({"UNCERTAINTY", "RANGELEAST", "RANGEMOST", _LIMIT})
_TIME_POINT: Final = "C2348792"
_UNDECIDED: Final = frozenset({"model_part_unknown", "level_doubtful", "uncertainty_unknown"})
"""Reasons beside which there is a change."""


def evidence_is_complete(results: ResultSet) -> Iterator[Complaint]:
    """Find reports that refer to what their evidence does not list, or list another study's objects as their own."""
    studies = [s["study"] for s in results.result["studies"]]
    for name, ds in results.reports.items():
        current = list(_evidence(ds, "CurrentRequestedProcedureEvidenceSequence"))
        other = list(_evidence(ds, "PertinentOtherEvidenceSequence"))
        listed = {uid for _, uid in (*current, *other)}
        held = {
            attributes.text(reference, "ReferencedSOPInstanceUID")
            for item in content(ds)
            for reference in attributes.items(item, "ReferencedSOPSequence")
        }
        if held - listed:
            yield name, "its content refers to an object that its evidence does not list"
        if {study for study, _ in current} != {studies[-1]}:
            yield name, "evidence of its own study is of another"
        if {study for study, _ in other} != set(studies[:-1]):
            yield name, "its other evidence is not of the earlier studies"


def values_are_reported(results: ResultSet) -> Iterator[Complaint]:
    """Find values of `result.json` that the report lacks, or holds otherwise."""
    for name, ds in results.reports.items():
        found = _values(ds)
        for study in results.result["studies"]:
            for what, value in study["values"].items():
                stated = found.get((what, study["when"]))
                if _differ(stated, value["value"]):
                    yield name, f"{what} of {study['when']}: its value is not that of result.json"


def changes_follow(results: ResultSet) -> Iterator[Complaint]:
    """Find changes that are not the later less the earlier value, and verdicts that do not follow from both."""
    studies = results.result["studies"]
    for step in results.result["steps"]:
        before, after = studies[step["before"]], studies[-1]
        for what, change in step["changes"].items():
            earlier, later = (_reading(s["values"].get(what)) for s in (before, after))
            wanted = compare(earlier, later)
            undecided = change["reason"] in _UNDECIDED
            given = change["change"] is not None
            if given and (_differ(wanted.change, change["change"]) or _differ(wanted.limit, change["limit"])):  # fmt: skip
                yield "", f"{what}: a change or its limit does not follow from the values"
            elif given and not undecided and wanted.exceeds is not change["exceeds"]:
                yield "", f"{what}: a verdict does not follow from the values"
    for name, ds in results.reports.items():
        yield from ((name, text) for text in _reported_otherwise(ds, results.result["steps"]))


def _reported_otherwise(ds: Dataset, steps: list[Mapping[str, Any]]) -> Iterator[str]:
    """Changes of the report that are in no step, and verdicts without a change that exceeds."""
    stated: dict[str, list[tuple[float | None, str]]] = {}
    for group in groups(ds):
        if ":change:" in f":{tracking(group)}":
            items = attributes.items(group, "ContentSequence")
            number = next((value_of(i) for i in items if concept(i) == _CHANGE), None)
            stated.setdefault(quantity_name(tracking(group)), []).append((number, _verdict(items)))
    for what, changes in stated.items():
        wanted = [s["changes"][what] for s in steps if what in s["changes"]]
        for (number, verdict), change in zip(changes, wanted, strict=False):
            exceeds = verdict == "EXCEEDS"
            if _differ(number, change["change"]) or exceeds is not bool(change["exceeds"]):
                yield f"{what}: a change is not that of result.json"
        if len(changes) != len(wanted):
            yield f"{what}: {len(changes)} changes instead of {len(wanted)}"


def _verdict(items: Sequence[Dataset]) -> str:
    coded = next((i for i in items if concept(i) == _VERDICT), None)
    code = None if coded is None else attributes.first_item(coded, "ConceptCodeSequence")
    return "" if code is None else attributes.text(code, "CodeValue")


def _values(ds: Dataset) -> dict[tuple[str, str], float | None]:
    """Value by name and date, of the groups that are no changes."""
    found: dict[tuple[str, str], float | None] = {}
    for group in groups(ds):
        items = attributes.items(group, "ContentSequence")
        when = next(
            (attributes.text(i, "TextValue") for i in items if concept(i) == _TIME_POINT), ""
        )
        numbers = [
            value_of(i)
            for i in items
            if attributes.text(i, "RelationshipType") == "CONTAINS"
            and attributes.text(i, "ValueType") == "NUM"
            and concept(i) not in _DOUBTS
        ]
        if ":change:" not in f":{tracking(group)}":
            found[quantity_name(tracking(group)), when] = next(iter(numbers), None)
    return found


def _reading(value: Mapping[str, Any] | None) -> Reading | None:
    if value is None:
        return None
    limits = value["range"]
    return Reading(
        value["value"], value["unit"], value["uncertainty"], None if limits is None else (limits[0], limits[1]),
        refusal=value["refusal"] or "",
    )  # fmt: skip


def _differ(stated: float | None, wanted: float | None) -> bool:
    if stated is None or wanted is None:
        return stated is not wanted
    return abs(stated - wanted) > TOLERANCE


def _evidence(ds: Dataset, keyword: str) -> Iterator[tuple[str, str]]:
    """(study, SOP instance) of one kind of evidence."""
    for study in attributes.items(ds, keyword):
        for series in attributes.items(study, "ReferencedSeriesSequence"):
            for item in attributes.items(series, "ReferencedSOPSequence"):
                uid = attributes.text(item, "ReferencedSOPInstanceUID")
                yield attributes.text(study, "StudyInstanceUID"), uid
