"""`FollowUpTexts`: every word on the page of a follow-up, and the texts in English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FollowUpTexts:
    """All texts of one language; in braces what is filled in.

    notes: by code of `dicomseg.compare.comparison.NOTES`. reasons: short forms, by code of
    `dicomseg.compare.change.REASONS`. values: names of the values in `result.json`; one that is not listed is printed
    as it is there.
    """

    title: str
    subtitle: str
    identity: str
    studies: str
    study: str
    step: str
    more: str
    heads: tuple[str, str, str, str]
    since_first: str
    exceeds: str
    within: str
    refused: str
    notes: Mapping[str, str]
    reasons: Mapping[str, str]
    values: Mapping[str, str]
    footnotes: tuple[str, ...]
    made: str


ENGLISH: Final = FollowUpTexts(
    title="L4/5 follow-up",
    subtitle="{count} studies of one patient",
    identity="ID {id} · born {born} · newest study {study}",
    studies="Studies",
    study="{when}: {scanner} · {model}",
    step="{first} to {last}: {days} days{notes}",
    more="and {count} more between them",
    heads=("Value", "change", "must exceed", "verdict"),
    since_first="since {first}",
    exceeds="exceeds the uncertainty",
    within="within the uncertainty",
    refused="not measured",
    notes={
        "other_scanner": "another scanner",
        "other_voxel": "other voxel sizes",
        "other_model": "another model, version or engine",
    },
    reasons={
        "absent_before": "not measured then",
        "absent_now": "not measured now",
        "refused_before": "not measured then",
        "refused_now": "not measured now",
        "other_unit": "different units",
        "other_definition": "defined differently",
        "other_structure": "another structure or side",
        "other_level": "other level: not compared",
        "same_images": "the same images",
        "level_doubtful": "level doubtful",
        "uncertainty_unknown": "uncertainty not known",
        "model_part_unknown": "model's uncertainty not known",
    },
    values={
        "OC": "Oblique corridor (OC)",
        "DAA": "Artery, largest diameter (DAA)",
        "DIVC": "Vein, largest diameter (DIVC)",
        "PI": "Right psoas to vein (PI)",
        "OC_any": "Left psoas to nearest vessel",
        "OC_right": "Right psoas to nearest vessel",
        "psoas_vein_left": "Left psoas to vein",
        "DAA_min": "Artery, smallest diameter",
        "DIVC_min": "Vein, smallest diameter",
        "dural_sac_ap": "Dural sac, front to back",
        "artery_disc": "Artery to disc",
        "vein_disc": "Vein to disc",
        "disc_height_anterior": "Disc height, front",
        "disc_height_middle": "Disc height, middle",
        "disc_height_posterior": "Disc height, back",
        "psoas_area_left": "Left psoas, area",
        "psoas_area_right": "Right psoas, area",
        "psoas_front_left": "Left psoas before disc front",
        "psoas_front_right": "Right psoas before disc front",
        "psoas_zone_left": "Left psoas, back edge",
        "psoas_zone_right": "Right psoas, back edge",
        "vessel_cover": "Disc front covered by vessels",
        "vein_left_edge": "Veins left of the disc centre",
        "dural_sac_area": "Dural sac, area",
        "aortic_bifurcation_height": "Aorta divides above plane",
        "iliac_confluence_height": "Iliac veins join above plane",
        "disc_angle": "Disc angle",
        "segmental_angle": "L4–L5 angle",
    },
    footnotes=(
        "Bars and ranges: the value ± 2u. A change exceeds when it is larger than √((2u₁)² + (2u₂)²); of a value with a range, when both intervals lie apart. u: one standard deviation. !: exceeds.",
        "Of twenty values that did not change, one exceeds all the same. A systematic difference of two scanners or versions is not in u. Look at the images of both studies before you believe a change.",
        "If most values exceed, compare the levels first: another disc under one name looks like a change of everything.",
    ),
    made="made {created} · follow-up {result}",
)
