"""The patients of the demonstration: anatomy, how their studies are sent, and the expected final state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Ending = Literal["delivered", "skipped", "incomplete"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One patient.

    seed: of the anatomy. options: further ones of `lumbar-train phantom`.

    send: series folders that are sent, empty for all. associations: number of parts. ending: final
    state of the T2 SPACE series, or of every series if there is none.
    """

    seed: int
    title: str
    ending: Ending
    options: tuple[str, ...] = ()
    send: tuple[str, ...] = ()
    associations: int = 1

    @property
    def case(self) -> str:
        """Folder name that `lumbar-train phantom` gives the case."""
        return f"phantom-{self.seed:06d}"


_LIGHT: Final = ("--slices", "64", "--matrix", "160")
"""A coarse grid is enough for series that are never segmented, and is painted in half the time."""

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(11, "with every other series of a spine examination", "delivered", ("--distractors",)),
    Scenario(12, "oblique slices", "delivered", ("--oblique",)),
    Scenario(13, "arrives in two associations", "delivered", associations=2),
    Scenario(
        14,
        "no T2 SPACE series",
        "skipped",
        ("--distractors", *_LIGHT),
        ("localizer", "t2_tse_sag", "t1_space", "t2_flair", "mpr"),
    ),
    Scenario(15, "slice 31 lost in transit", "incomplete", ("--drop-slice", "30", *_LIGHT)),
)
