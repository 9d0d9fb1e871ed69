"""Keep the held-out set: a file of case ids with digests, so that two comparisons are of the same cases."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from training.data.cases import case_digest, list_cases, load_case
from training.data.persons import read_persons
from training.errors import HeldOutError, SourceMissing

SCHEMA: Final = 1


def write_held_out(file: Path, cases: Path, ids: Sequence[str]) -> list[str]:
    """Write these cases as held out; returns their ids in order.

    Raises:
        SourceMissing: one is not below `cases`, or none was named.
        CaseUnreadable: one of them cannot be read.
    """
    paths = {p.stem: p for p in list_cases(cases)}
    wanted = sorted(set(ids))
    if not wanted:
        raise SourceMissing(
            "no case is named as held out; give --case, or a bundle whose card does"
        )
    absent = [name for name in wanted if name not in paths]
    if absent:
        raise SourceMissing(f"held-out case {absent[0]} is not below {cases}; check the id")
    digests = {name: case_digest(load_case(paths[name])) for name in wanted}
    text = json.dumps({"schema": SCHEMA, "cases": digests}, indent=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
    return wanted


def read_held_out(file: Path, cases: Path) -> list[Path]:
    """Return the paths of the held-out cases, each unchanged since the set was fixed.

    Raises:
        HeldOutError: no such file, not of this form, or a case that is missing or has changed.
        CaseUnreadable: a case cannot be read.
    """
    digests = _read_digests(file)
    paths = {p.stem: p for p in list_cases(cases)}
    for name, digest in digests.items():
        if name not in paths:
            raise HeldOutError(f"{file}: case {name} is not below {cases}; prepare it again")
        if case_digest(load_case(paths[name])) != digest:
            raise HeldOutError(
                f"{file}: case {name} has changed since the set was fixed; restore it, or fix a new set"
            )
    return [paths[name] for name in sorted(digests)]


def _read_digests(file: Path) -> Mapping[str, str]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        schema, cases = content["schema"], dict(content["cases"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeldOutError(f"{file}: {error}; write it with `lumbar-train held-out`") from error
    if schema != SCHEMA or not cases:
        raise HeldOutError(
            f"{file}: schema {schema!r}, {len(cases)} cases; write it with `lumbar-train held-out`"
        )
    return cases


def never_sampled(cases: Path, held: Sequence[Path]) -> tuple[str, ...]:
    """List the ids that must not be trained on: the held-out cases and every other one of these persons.

    Raises:
        CaseUnreadable: a case without a readable card or a patient.
    """
    persons = read_persons(list_cases(cases)).by_path
    theirs = {persons[path] for path in held}
    return tuple(sorted(path.stem for path, person in persons.items() if person in theirs))


def split_cases(
    folder: Path, held_out: Collection[str] = ()
) -> tuple[list[Path], list[Path], list[Path]]:
    """Return phantoms, sagittal slabs and held-out cases of `list_cases`, by file name.

    Every case of a person of whom one is held out is held out, whatever its id: two scans of one are too much alike.

    Raises:
        SourceMissing: no such folder, or a held-out id that is not among its cases.
        CaseUnreadable: a case without a readable card or a patient, where some are held out.
    """
    phantoms, slabs, held = [], [], []
    paths = list_cases(folder)
    persons = read_persons(paths).by_path if held_out else {}
    theirs = {persons[path] for path in paths if path.stem in held_out}
    for path in paths:
        if persons and persons[path] in theirs:
            held.append(path)
        elif path.stem.startswith("phantom"):
            phantoms.append(path)
        else:
            slabs.append(path)
    absent = sorted(set(held_out) - {p.stem for p in held})
    if absent:
        raise SourceMissing(f"held-out case {absent[0]} is not below {folder}; check the id")
    return phantoms, slabs, held
