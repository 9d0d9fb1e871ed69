"""How bright blood is in varied vessels: anything between a full flow void and blood at rest.

Blood at rest has the relaxation times of published tables; how much of its signal flow takes away is drawn over the
entire range, since it depends on velocity, slice direction and refocusing. Ranges come from published values, not from
real pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.phantom.tissues import Tissue

ARTERIAL_T2_MS: Final = 200.0
VENOUS_T2_MS: Final = (50.0, 150.0)
_PD, _T1_MS = 0.85, 1350.0
_ARTERY_LEFT: Final = (0.02, 0.5)
"""Share of the signal at rest that flow leaves in an artery; a guess, as is every range of flow here."""
_VEIN_TIMES: Final = (0.7, 8.0)
"""What it leaves in a vein, times that in the arteries: venous blood is slower; never more than at rest."""
_SLOW_TIMES: Final = (0.5, 5.0)
_ALIKE: Final = 0.25
"""Share of persons whose veins are as grey as their arteries."""


def _log_uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]))))


def draw_blood(
    rng: np.random.Generator, at_rest: Callable[[Tissue], float], signals: Mapping[str, float]
) -> dict[str, float]:
    """Draw signals of blood and of the fat beside it, relative to marrow.

    at_rest: signal of a tissue relative to marrow. signals: of the tissues as drawn before.
    """
    venous_ms = float(rng.uniform(*VENOUS_T2_MS))
    artery, vein = (at_rest(Tissue(_PD, _T1_MS, ms)) for ms in (ARTERIAL_T2_MS, venous_ms))
    left = _log_uniform(rng, _ARTERY_LEFT)
    in_vein = min(left * _log_uniform(rng, _VEIN_TIMES), 1.0)
    in_slow = min(in_vein * _log_uniform(rng, _SLOW_TIMES), 1.0)
    blood = {"artery": artery * left, "vein": vein * in_vein, "vein_slow": vein * in_slow}
    if rng.random() < _ALIKE:
        blood["vein"] = blood["artery"] * float(rng.lognormal(0, 0.1))
    if rng.random() < 0.5:  # a fat plane that is thinner than a voxel is not as bright as fat
        blood["retro_fat"] = signals["retro_fat"] * float(rng.uniform(0.3, 1.0))
    return blood


@dataclass(frozen=True, slots=True)
class BloodCoats:
    """Coats of arteries and veins from the outside in: mm from the surface, tissue."""

    artery: tuple[tuple[float, str], ...]
    vein: tuple[tuple[float, str], ...]
    slow: bool
    """One of the veins has a part of slow flow."""
    slow_vein: int
    slow_mm: float
    """Its depth: large ones leave a bright core."""


def draw_coats(rng: np.random.Generator) -> BloodCoats:
    """Draw wall and lumen: walls of 0 to 1 mm, slow flow along an artery's wall or in one of the veins."""
    wall = float(rng.uniform(0.3, 1.0))
    artery = [(0.0, "vessel_wall"), (wall, "artery")] if rng.random() < 0.7 else [(0.0, "artery")]
    if rng.random() < 0.2:
        artery[-1] = (artery[-1][0], "vein_slow")
        artery.append((artery[-1][0] + float(rng.uniform(0.8, 2.2)), "artery"))
    thin = float(rng.uniform(0.2, 0.8))
    vein = [(0.0, "vessel_wall"), (thin, "vein")] if rng.random() < 0.6 else [(0.0, "vein")]
    return BloodCoats(
        tuple(artery),
        tuple(vein),
        bool(rng.random() < 0.5),
        int(rng.integers(0, 3)),
        float(rng.uniform(0.3, 2.2)),
    )
