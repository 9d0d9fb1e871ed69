"""Selection rules: three-valued, explained, and data in the configuration.

A rule is a name and two lists of predicates: all of `all` and one of `any` must be true. "No"
and "unknown" both leave the series alone, each with its reason (Kleene's logic: in `all` a no beats
an unknown, in `any` a yes does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicomseg.read.predicates import PREDICATES

HAS_ENOUGH_SLICES: Final = "has_enough_slices"
"""The only predicate over all slices of a series: a regular grid, large enough to find a disc in."""

PREDICATE_NAMES: Final[tuple[str, ...]] = (*PREDICATES, HAS_ENOUGH_SLICES)
"""Every name a rule may use."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way for a series to be eligible; `all` and `any` name predicates."""

    name: str
    all: tuple[str, ...]
    any: tuple[str, ...] = ()


DEFAULT_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "t2-space",
        (
            "is_mr",
            "has_pixels",
            "is_original",
            "is_not_localizer",
            "is_t2_space",
            "is_lumbar_or_unknown",
            HAS_ENOUGH_SLICES,
        ),
    ),
)
"""Original 3D T2 SPACE of the lumbar spine, or of a region that the header does not name."""
