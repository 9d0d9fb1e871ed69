"""The patients of the demonstration: who they are, how their studies travel, and what must become of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Ending = Literal["delivered", "skipped", "incomplete"]


@dataclass(frozen=True, slots=True)
class Role:
    """One patient. seed: the anatomy. options: further ones of `lumbar-train phantom`.

    send: series folders that are sent, empty for all. associations: in how many parts. ending: the
    state that the T2 SPACE series, or without one every series, must reach.
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

CAST: Final[tuple[Role, ...]] = (
    Role(11, "with every other series of a spine examination", "delivered", ("--distractors",)),
    Role(12, "oblique slices", "delivered", ("--oblique",)),
    Role(13, "arrives in two associations", "delivered", associations=2),
    Role(
        14,
        "no T2 SPACE series",
        "skipped",
        ("--distractors", *_LIGHT),
        ("localizer", "t2_tse_sag", "t1_space", "t2_flair", "mpr"),
    ),
    Role(15, "slice 31 lost on the way", "incomplete", ("--drop-slice", "30", *_LIGHT)),
)
