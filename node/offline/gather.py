"""`select` and `process`: files and folders given by hand, without server and journal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from dicomseg.errors import InputRefused, LumbarError, Unreadable
from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.reconstructions import SeriesCandidate, judge_series, prefer_reconstructions
from dicomseg.read.rules import HAS_ENOUGH_SLICES, Rule, Verdict, judge
from dicomseg.read.series import Grid

Status = Literal["eligible", "skipped", "incomplete", "refused"]

ANY_SEQUENCE: Final = (Rule("any-sequence", ("is_mr", "has_pixels", HAS_ENOUGH_SLICES)),)
"""What `--any-sequence` asks: an MR volume that can be worked on, whatever its contrast."""

_NAMED: Final = 5
_UNEXPECTED: Final = "unexpected"


class NothingGiven(LumbarError):
    """A path does not exist; correct it."""

    code = "no-such-path"
    exit_code = 2


class NothingEligible(LumbarError):
    """No series can be worked on; the table says why for each."""

    code = "nothing-eligible"
    exit_code = 3


@dataclass(frozen=True, slots=True)
class Gathered:
    """What lies under the given paths: series by (study, series), and why files were left out."""

    series: Mapping[tuple[str, str], tuple[Instance, ...]]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One series with its verdict; *incomplete* and *refused* are eligible but for their slices."""

    study: str
    candidate: SeriesCandidate
    status: Status
    verdict: Verdict

    @property
    def grid(self) -> Grid:
        """The slices of an eligible series. Raises `InputRefused` for every other."""
        if isinstance(self.candidate.grid, GeometryProblem):
            raise InputRefused(f"{self.candidate.name}: {self.candidate.grid.text}")
        return self.candidate.grid


def gather(paths: Sequence[Path]) -> Gathered:
    """Read the headers of every file under the paths. Raises `NothingGiven` for a path that is none."""
    found: dict[tuple[str, str], dict[str, Instance]] = {}
    left_out: list[str] = []
    for file in _files(paths):
        try:
            instance = headers.read_instance(file)
        except headers.MediaDirectory:
            continue  # it names files that are found anyway
        except Unreadable as error:
            left_out.append(str(error))
            continue
        series = found.setdefault((instance.study_uid, instance.series_uid), {})
        twice = series.setdefault(instance.sop_instance_uid, instance)
        if twice.digest != instance.digest:
            left_out.append(
                f"{file}: other content than {twice.path} under one SOP Instance UID; "
                "keep the right one"
            )
    return Gathered({key: tuple(held.values()) for key, held in found.items()}, tuple(left_out))


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise NothingGiven(f"{path}: no such file or folder; correct the path")
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders.sort()
            found = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
            yield from (file for file in found if file.is_file())  # a pipe would never end


def judge_all(gathered: Gathered, rules: Sequence[Rule]) -> tuple[Judged, ...]:
    """Judge every series, twins within their study, in the order of series numbers."""
    studies: dict[str, list[SeriesCandidate]] = {}
    for (study, series), instances in gathered.series.items():
        studies.setdefault(study, []).append(_candidate(series, instances, rules))
    judged = []
    for study, candidates in studies.items():
        verdicts = prefer_reconstructions(candidates)
        for one in sorted(candidates, key=_number):
            verdict = verdicts[one.series]
            judged.append(Judged(study, one, _status(one, verdict, rules), verdict))
    return tuple(judged)


def _candidate(
    series: str, instances: Sequence[Instance], rules: Sequence[Rule]
) -> SeriesCandidate:
    """Judge one series; what fails unexpectedly is its own verdict and leaves the others alone."""
    try:
        return judge_series(series, instances, rules)
    except Exception as error:  # noqa: BLE001 - one series must not end the batch
        reason = f"unexpected {type(error).__name__} while judging it; report it with the headers"
        verdict = Verdict("no", None, (reason,))
        return SeriesCandidate(
            series, tuple(instances), GeometryProblem(_UNEXPECTED, reason), verdict
        )


def _number(one: SeriesCandidate) -> tuple[int, str]:
    number = one.first.series_number
    return (number if number is not None else 1 << 31, one.series)


def _status(one: SeriesCandidate, verdict: Verdict, rules: Sequence[Rule]) -> Status:
    if verdict.value == "yes":
        return "eligible"
    if isinstance(one.grid, GeometryProblem) and one.grid.code == _UNEXPECTED:
        return "refused"
    by_header = tuple(
        replace(rule, all=tuple(name for name in rule.all if name != HAS_ENOUGH_SLICES))
        for rule in rules
    )
    if one.verdict.value == "yes" or judge(one.judged, None, by_header).value != "yes":
        return "skipped"
    return "incomplete" if isinstance(one.grid, GeometryProblem) else "refused"


def left_out_lines(gathered: Gathered) -> tuple[str, ...]:
    """Lines about the files that were left out: the first few by name, the others counted."""
    more = len(gathered.left_out) - _NAMED
    lines = gathered.left_out[:_NAMED]
    return (*lines, f"and {more} more files") if more > 0 else lines


def only_series(gathered: Gathered, uid: str | None) -> Gathered:
    """Keep the one series that was asked for. Raises `NothingEligible` when it is not there."""
    if uid is None:
        return gathered
    kept = {key: instances for key, instances in gathered.series.items() if key[1] == uid}
    if not kept:
        raise NothingEligible(
            f"series {uid} is not under the given paths; see `lumbar-node select`"
        )
    return Gathered(kept, gathered.left_out)
