"""Codes of the values beside the four: what they are, how their number is called, its unit, where it was found.

Official codes where one exists in the context groups of the standard, else of our declared private scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import highdicom as hd
from pydicom.sr.codedict import codes

from dicomseg.encode.context import coded_concept, private_code
from dicomseg.result import Unit
from dicomseg.structures import BY_ID, LEVEL_L45, Code

UNITS: Final[Mapping[Unit, hd.sr.CodedConcept]] = {
    "mm": coded_concept(codes.UCUM.Millimeter),
    "mm2": coded_concept(codes.UCUM.SquareMillimeter),
    "deg": coded_concept(codes.UCUM.Degree),
    "ratio": coded_concept(codes.UCUM.NoUnits),
}

_MINIMUM: Final = {"derivation": coded_concept(codes.SCT.Minimum)}
_DISTANCE: Final[dict[str, Any]] = {"name": coded_concept(codes.DCM.Distance), **_MINIMUM}
_WIDTH: Final[dict[str, Any]] = {"name": coded_concept(codes.SCT.Diameter), **_MINIMUM}
_HEIGHT: Final[dict[str, Any]] = {"name": coded_concept(codes.DCM.Height)}
_AREA: Final[dict[str, Any]] = {"name": coded_concept(codes.SCT.Area)}
_ANGLE: Final[dict[str, Any]] = {"name": coded_concept(codes.SCT.Angle)}
_COBB: Final[dict[str, Any]] = {"name": coded_concept(codes.SCT.CobbAngle)}

_PSOAS: Final = (BY_ID["pm"].code,)
_DISC: Final = (BY_ID["ivd"].code,)
_BODIES: Final = (BY_ID["l4"].code, BY_ID["l5"].code)
_BIFURCATION: Final = (Code("73166001", "SCT", "Aortic Bifurcation"),)
_VEINS: Final = (Code("46027005", "SCT", "Common iliac vein"),)


@dataclass(frozen=True, slots=True)
class FurtherCode:
    """How a further value is coded.

    value, meaning: of its private code. number: name and derivation of its number; the private code itself where no
    official one says what it is. sites: what it was found on, before the level.
    """

    value: str
    meaning: str
    number: Mapping[str, Any] | None = None
    sites: tuple[Code, ...] = ()

    @property
    def concept(self) -> hd.sr.CodedConcept:
        """Its private code."""
        return private_code(self.value, self.meaning)

    @property
    def named(self) -> Mapping[str, Any]:
        """Name, and derivation if any, of its number."""
        return self.number or {"name": self.concept}


_PSOAS_AREA: Final = FurtherCode("PSOASAREA", "Psoas, cross-sectional area", _AREA, _PSOAS)
_PSOAS_FRONT: Final = FurtherCode(
    "PSOASFRONT", "Psoas in front of the disc, negative: behind its front", None, _PSOAS
)
_PSOAS_ZONE: Final = FurtherCode(
    "PSOASBACK", "Psoas back edge, share of the disc depth from its front", None, _PSOAS
)
CODES: Final[Mapping[str, FurtherCode]] = {
    "OC_any": FurtherCode("OCANY", "Left psoas to nearest artery or vein", _DISTANCE),
    "OC_right": FurtherCode("OCRIGHT", "Right psoas to nearest artery or vein", _DISTANCE),
    "psoas_vein_left": FurtherCode("PSOASVEINLEFT", "Left psoas to vein", _DISTANCE),
    "DAA_min": FurtherCode("DAAMIN", "Aorta (or common iliac artery), minimum diameter", _WIDTH),
    "DIVC_min": FurtherCode("DIVCMIN", "IVC (or common iliac vein), minimum diameter", _WIDTH),
    "dural_sac_ap": FurtherCode("DURALSACAP", "Dural sac, front to back", {"name": _WIDTH["name"]}),
    "artery_disc": FurtherCode("ARTERYDISC", "Artery to disc", _DISTANCE, _DISC),
    "vein_disc": FurtherCode("VEINDISC", "Vein to disc", _DISTANCE, _DISC),
    "disc_height_anterior": FurtherCode("DISCHEIGHTANT", "Disc height, anterior", _HEIGHT, _DISC),
    "disc_height_middle": FurtherCode("DISCHEIGHTMID", "Disc height, middle", _HEIGHT, _DISC),
    "disc_height_posterior": FurtherCode(
        "DISCHEIGHTPOST", "Disc height, posterior", _HEIGHT, _DISC
    ),
    "psoas_area_left": _PSOAS_AREA,
    "psoas_area_right": _PSOAS_AREA,
    "psoas_front_left": _PSOAS_FRONT,
    "psoas_front_right": _PSOAS_FRONT,
    "psoas_zone_left": _PSOAS_ZONE,
    "psoas_zone_right": _PSOAS_ZONE,
    "vessel_cover": FurtherCode("VESSELCOVER", "Share of the disc front covered by vessels"),
    "vein_left_edge": FurtherCode(
        "VEINLEFTEDGE", "Veins to the left of the disc centre, negative: right", None, _VEINS
    ),
    "dural_sac_area": FurtherCode(
        "DURALSACAREA", "Dural sac, cross-sectional area", _AREA, (BY_ID["dura"].code,)
    ),
    "aortic_bifurcation_height": FurtherCode(
        "AORTICFORK", "Aortic bifurcation above the mid-disc plane", None, _BIFURCATION
    ),
    "iliac_confluence_height": FurtherCode(
        "ILIACCONFLUENCE", "Iliac vein confluence above the mid-disc plane", None, _VEINS
    ),
    "disc_angle": FurtherCode(
        "DISCANGLE", "Disc angle, L4 lower to L5 upper end plate", _ANGLE, _DISC
    ),
    "segmental_angle": FurtherCode(
        "SEGMENTALANGLE", "Segmental angle, L4 upper to L5 lower end plate", _COBB, _BODIES
    ),
}
"""Of every further value by its name; meanings of at most 64 characters (LO). A side is the laterality of its sites."""

ZONE: Final = private_code("PSOASZONE", "Zone of the psoas back edge (Moro)")


def zone_code(category: str) -> hd.sr.CodedConcept:
    """Return the code of a zone: quarters I to IV of the disc, A before it, P behind it."""
    return private_code(f"ZONE{category}", f"Zone {category}")


def sites(name: str, side: hd.sr.CodedConcept | None) -> list[hd.sr.FindingSite]:
    """Return where a value was found: its structures and the level, with its side where it has one."""
    found = (*(CODES[name].sites if name in CODES else ()), LEVEL_L45)
    laterality = {} if side is None else {"laterality": side}
    return [hd.sr.FindingSite(coded_concept(code), **laterality) for code in found]
