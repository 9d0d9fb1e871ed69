"""What a follow-up report holds: studies of one patient with their values, and changes up to the newest. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicomseg.compare.change import Change, Reading
from dicomseg.measurement_names import MAIN_MEASUREMENTS

NOTES: Final[Mapping[str, str]] = {
    "other_scanner": "another scanner",
    "other_voxel": "other voxel sizes",
    "other_model": "another model, version or engine",
}
"""What differs between two studies, and does not keep their values from being compared."""


@dataclass(frozen=True, slots=True)
class ComparedStudy:
    """One study and the result of it that is compared.

    when: date of the acquisition, YYYY-MM-DD. scanner, model: for people. level: name and counting rule.
    """

    study: str
    series: str
    result: str
    when: str
    scanner: str
    model: str
    level: str
    values: Mapping[str, Reading]


@dataclass(frozen=True, slots=True)
class ComparedStep:
    """From an earlier study to the newest. before: its index; days between both; notes: codes of `NOTES`."""

    before: int
    days: int
    notes: tuple[str, ...]
    changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Studies of one patient, oldest first, at least two; steps from the last but one and, of more than two, the first."""

    studies: tuple[ComparedStudy, ...]
    steps: tuple[ComparedStep, ...]

    @property
    def newest(self) -> ComparedStudy:
        """The study that the report belongs to."""
        return self.studies[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all values: the four, then those of the newest study, then others."""
        named = dict.fromkeys(n for s in reversed(self.studies) for n in s.values)
        main = [n for n in MAIN_MEASUREMENTS if n in named]
        return (*main, *(n for n in named if n not in MAIN_MEASUREMENTS))
