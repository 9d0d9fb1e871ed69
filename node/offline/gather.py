"""Read the series below files and folders and judge them, without server and journal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from dicomseg.errors import InputRefused, Unreadable
from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.instance import Instance
from dicomseg.read.judge import Verdict, judge
from dicomseg.read.reconstructions import SeriesCandidate, judge_series, prefer_reconstructions
from dicomseg.read.rules import HAS_ENOUGH_SLICES, Rule
from dicomseg.read.series import Grid
from node.errors import NoSuchPath, NothingEligible

Status = Literal["eligible", "skipped", "incomplete", "refused"]

ANY_SEQUENCE: Final = (Rule("any-sequence", ("is_mr", "has_pixels", HAS_ENOUGH_SLICES)),)
"""Rule of `--any-sequence`: a regular MR volume, whatever its contrast."""

_NAMED: Final = 5
"""Skipped files that are named; the others are counted."""
_INTERNAL_ERROR: Final = "unexpected"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Series below the given paths by (study UID, series UID), and why files were skipped."""

    series: Mapping[tuple[str, str], tuple[Instance, ...]]
    skipped_files: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One series with its verdict; *incomplete* and *refused* would be eligible but for their slices."""

    study: str
    candidate: SeriesCandidate
    status: Status
    verdict: Verdict

    @property
    def grid(self) -> Grid:
        """Slices of an eligible series.

        Raises:
            InputRefused: the series is not eligible.
        """
        if isinstance(self.candidate.grid, GeometryProblem):
            raise InputRefused(f"{self.candidate.name}: {self.candidate.grid.text}")
        return self.candidate.grid


def gather(paths: Sequence[Path]) -> Gathered:
    """Read the headers of every file below the paths.

    Raises:
        NoSuchPath: a path does not exist.
    """
    instances: dict[tuple[str, str], dict[str, Instance]] = {}
    skipped_files: list[str] = []
    for file in _files(paths):
        try:
            instance = headers.read_instance(file)
        except headers.MediaDirectory:
            continue  # the files that it names are read anyway
        except Unreadable as error:
            skipped_files.append(str(error))
            continue
        series = instances.setdefault((instance.study_uid, instance.series_uid), {})
        earlier = series.setdefault(instance.sop_instance_uid, instance)
        if earlier.digest != instance.digest:
            skipped_files.append(
                f"{file}: other content than {earlier.path} under the same SOP Instance UID; "
                "keep the correct one"
            )
    series_by_uid = {key: tuple(series.values()) for key, series in instances.items()}
    return Gathered(series_by_uid, tuple(skipped_files))


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise NoSuchPath(f"{path}: no such file or folder; correct the path")
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders.sort()
            files = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
            yield from (file for file in files if file.is_file())  # a pipe would never end


def judge_all(gathered: Gathered, rules: Sequence[Rule]) -> tuple[Judged, ...]:
    """Judge every series, in the order of series numbers; of duplicate reconstructions in a study one is chosen."""
    studies: dict[str, list[SeriesCandidate]] = {}
    for (study, series), instances in gathered.series.items():
        studies.setdefault(study, []).append(_candidate(series, instances, rules))
    judged = []
    for study, candidates in studies.items():
        verdicts = prefer_reconstructions(candidates)
        for one_series in sorted(candidates, key=_number):
            verdict = verdicts[one_series.series]
            judged.append(Judged(study, one_series, _status(one_series, verdict, rules), verdict))
    return tuple(judged)


def _candidate(
    series: str, instances: Sequence[Instance], rules: Sequence[Rule]
) -> SeriesCandidate:
    """Judge one series; an internal error is its own verdict and does not affect the others."""
    try:
        return judge_series(series, instances, rules)
    except Exception as error:  # noqa: BLE001 - one series must not end the batch
        reason = (
            f"internal error ({type(error).__name__}) while judging it; report it with the headers"
        )
        verdict = Verdict("no", None, (reason,))
        return SeriesCandidate(
            series, tuple(instances), GeometryProblem(_INTERNAL_ERROR, reason), verdict
        )


def _number(series: SeriesCandidate) -> tuple[int, str]:
    number = series.first.series_number
    return (number if number is not None else 1 << 31, series.series)


def _status(series: SeriesCandidate, verdict: Verdict, rules: Sequence[Rule]) -> Status:
    if verdict.value == "yes":
        return "eligible"
    if isinstance(series.grid, GeometryProblem) and series.grid.code == _INTERNAL_ERROR:
        return "refused"
    by_header = tuple(
        replace(rule, all=tuple(name for name in rule.all if name != HAS_ENOUGH_SLICES))
        for rule in rules
    )
    if series.verdict.value == "yes" or judge(series.judged, None, by_header).value != "yes":
        return "skipped"
    return "incomplete" if isinstance(series.grid, GeometryProblem) else "refused"


def skipped_file_lines(gathered: Gathered) -> tuple[str, ...]:
    """Return lines about the skipped files: the first few by name, the others counted."""
    others = len(gathered.skipped_files) - _NAMED
    lines = gathered.skipped_files[:_NAMED]
    return (*lines, f"and {others} more files") if others > 0 else lines


def only_series(gathered: Gathered, uid: str | None) -> Gathered:
    """Keep one series.

    uid: its Series Instance UID, or None to keep all.

    Raises:
        NothingEligible: there is no such series.
    """
    if uid is None:
        return gathered
    kept = {key: instances for key, instances in gathered.series.items() if key[1] == uid}
    if not kept:
        raise NothingEligible(
            f"series {uid} is not under the given paths; see `lumbar-node select`"
        )
    return Gathered(kept, gathered.skipped_files)
