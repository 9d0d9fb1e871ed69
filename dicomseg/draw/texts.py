"""`Texts`: every word on the page. One language is one table of this shape, in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicomseg.measurement_names import MeasurementName
from dicomseg.result import Unit
from dicomseg.structures import Side, StructureId


@dataclass(frozen=True, slots=True)
class Caption:
    """Title of a panel, and what it shows."""

    title: str
    more: str


@dataclass(frozen=True, slots=True)
class Directions:
    """Letters at the edges of pictures."""

    right: str
    left: str
    front: str
    back: str
    head: str


@dataclass(frozen=True, slots=True)
class PlanTexts:
    """Names and answers of "For the plan"; in braces what is filled in."""

    heading: str
    corridor: str
    grade: str
    near_limit: str
    grades: tuple[str, str, str, str]
    direction: str
    direction_value: str
    psoas: Mapping[Side, str]
    psoas_absent: str
    psoas_cut: str
    psoas_front: str
    psoas_behind: str
    psoas_level: str
    psoas_zone: str
    psoas_area: str
    psoas_area_value: str
    forks: Mapping[StructureId, str]
    fork_above: str
    fork_below: str
    fork_at: str
    fork_beyond_above: str
    fork_beyond_below: str
    fork_unclear: str
    left_vein: str
    left_vein_reaches: str
    left_vein_not: str
    cover: str
    cover_value: str
    gap: str
    gap_names: Mapping[StructureId, str]
    gap_value: str
    gap_touches: str
    height: str
    height_value: str
    disc_angle: str
    disc_angle_value: str
    segment: str
    segment_value: str
    sac: str
    sac_value: str


@dataclass(frozen=True, slots=True)
class Warnings:
    """Sentences of the box of warnings, by code; `{what}` are structures or measurements."""

    heading: str
    heading_none: str
    none: str
    supine: str
    more: str
    findings: Mapping[str, str]
    flags: Mapping[str, str]
    left_out: frozenset[str]
    """Codes of findings that a surgeon has no use for; they are in `result.json`."""


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of one language; in braces what is filled in."""

    language: str
    title: str
    badge: str
    subtitle: str
    identity: str
    series: str
    anonymous: str
    captions: Mapping[str, Caption]
    """Of the panels A to F."""
    directions: Directions
    ruler: str
    structures: Mapping[StructureId, str]
    short_names: Mapping[StructureId, str]
    """In the pictures."""
    side_names: Mapping[Side, str]
    ends: Mapping[str, str]
    """Names of the ends of measurements; one that is not listed is printed as it is."""
    between: str
    values_heading: str
    reference_heading: str
    measurements: Mapping[MeasurementName, str]
    not_measured: str
    refused_label: str
    value: str
    value_sd: str
    value_range: str
    units: Mapping[Unit, str]
    """What follows a number, with the space before it."""
    refusals: Mapping[str, str]
    plan: PlanTexts
    warnings: Warnings
    footnotes: tuple[str, ...]
    level: str
    made: str
    disclaimer: str
