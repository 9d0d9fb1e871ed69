"""Tabulate tissues as far as a T2-weighted image shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Tissue:
    """Properties of a tissue in an MR image."""

    pd: float
    """Proton density, relative."""
    t1_ms: float
    t2_ms: float
    grain: float = 0.05
    """Relative spread of fine texture."""
    cloud: float = 0.05
    """Relative spread of coarse texture."""
    fleck: float = 0.0
    """Share of the tissue that is fat (muscle, marrow), drawn as streaks or islands."""


TISSUES: Final[Mapping[str, Tissue]] = MappingProxyType(
    {
        "air": Tissue(0.0, 1000, 50, 0, 0),
        "skin": Tissue(0.5, 600, 35),
        "fat": Tissue(0.60, 300, 130, 0.06, 0.09),
        "mesentery": Tissue(0.55, 320, 120, 0.15, 0.17),
        "retro_fat": Tissue(0.55, 320, 120, 0.12, 0.15),
        "inter_fat": Tissue(0.58, 310, 125, 0.10, 0.12),
        "epidural_fat": Tissue(0.60, 310, 125, 0.08, 0.12),
        "fascia": Tissue(0.12, 800, 30, 0.1, 0.1),
        "wall": Tissue(0.8, 950, 36, 0.10, 0.10, 0.06),
        "muscle": Tissue(0.8, 950, 36, 0.10, 0.08),
        "psoas": Tissue(0.8, 950, 36, 0.11, 0.08, 0.05),
        "erector": Tissue(0.8, 950, 36, 0.14, 0.12, 0.14),
        "multifidus": Tissue(0.8, 950, 36, 0.15, 0.14, 0.20),
        "marrow": Tissue(0.62, 560, 76, 0.16, 0.12, 0.04),
        "modic": Tissue(0.8, 700, 120, 0.15, 0.2),
        "haemangioma": Tissue(0.9, 700, 130, 0.15, 0.1),
        "cortex": Tissue(0.06, 600, 20, 0.1, 0.0),
        "basivertebral": Tissue(0.8, 1200, 110, 0.1, 0.1),
        "annulus": Tissue(0.22, 700, 32, 0.08, 0.08),
        "annulus_inner": Tissue(0.5, 700, 46, 0.08, 0.08),
        **{
            f"nucleus_{grade}": Tissue(pd, 1150, t2, 0.07, 0.10)
            for grade, pd, t2 in (
                (1, 0.82, 200),
                (2, 0.76, 130),
                (3, 0.7, 84),
                (4, 0.6, 54),
                (5, 0.5, 45),
            )
        },
        **{
            f"nucleus_{grade}_rim": Tissue(pd, 1000, t2, 0.07, 0.10)
            for grade, pd, t2 in (
                (1, 0.75, 120),
                (2, 0.7, 86),
                (3, 0.62, 62),
                (4, 0.55, 48),
                (5, 0.5, 42),
            )
        },
        "ligament": Tissue(0.15, 700, 30, 0.1, 0.05),
        "facet": Tissue(0.9, 3000, 500, 0.2, 0.2),
        "dura": Tissue(0.3, 900, 50, 0.05, 0.05),
        "csf": Tissue(0.58, 4273, 1550, 0.02, 0.05),
        "rootlet": Tissue(0.60, 900, 78, 0.10, 0.0),
        "nerve": Tissue(0.60, 900, 78, 0.10, 0.05),
        "root_sheath": Tissue(0.45, 900, 70, 0.10, 0.05),
        "vessel_wall": Tissue(0.35, 900, 45, 0.1, 0.05),
        "artery": Tissue(0.04, 1500, 120, 0.35, 0.35),
        "vein": Tissue(0.10, 1500, 110, 0.25, 0.35),
        "vein_slow": Tissue(0.85, 1500, 160, 0.12, 0.3),
        "ureter": Tissue(0.7, 2500, 300, 0.1, 0.1),
        "node": Tissue(0.75, 1100, 80, 0.1, 0.1),
        "bowel_wall": Tissue(0.7, 950, 50, 0.1, 0.1),
        "gas": Tissue(0.03, 1000, 50, 0.3, 0.3),
        "chyme": Tissue(0.75, 1000, 80, 0.18, 0.30),
        "chyme_dark": Tissue(0.55, 700, 45, 0.18, 0.30),
        "fluid": Tissue(0.66, 2600, 500, 0.06, 0.12),
    }
)
"""Values at 1.5–3 T from published tables; proton densities are guesses that reproduce the grey
values of 28 T2 SPACE series."""
