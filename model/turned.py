"""A patient registered in another position than scanned: noticed by looking at the volume turned, and at its mirror image.

Exchanging head first and feet first, or supine and prone, turns two axes of every header by 180°. The picture stays a
picture of a spine, with its sides exchanged. The level finder is asked about the turned volume only where its answer is
doubtful, the network about the mirror image only where it is unsure of the vessels: an ordinary series costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import softmax

from dicomseg.segmentation import Finding, Level, NotInView
from dicomseg.structures import BY_ID
from dicomseg.volume import AXIAL, Array, Volume
from model.engines.choose import Engine
from model.errors import OrientationRefused
from model.level import finder as level
from model.level.counting import DOUBTFUL
from model.level.finder import LevelFinder
from model.window import OBLIQUITY_DEG, Patch

GAIN: Final = 0.2
"""By how much a turned look must be surer of the level. Of 87 volumes that lie right (48 phantoms, 28 patients of SPIDER,
11 other patients) ten are doubtful, and none of the 87 is surer when turned. With head and feet exchanged 75 of them are
doubtful or not in view, and 63 of these are found out; with supine and prone exchanged all and 77, with both 74 and 64."""

WEAK_VESSELS: Final = 0.9
"""Mean probability of artery and vein below which the mirror image is looked at: 17 of 18 phantoms have 0.92 and more,
real pixels 0.81 to 0.90; phantoms that are mirrored have 0.79 to 0.92."""
STRANGE_VESSELS: Final = 0.8
"""Mean probability of artery and vein below which the picture may be turned: 0.81 and more in 29 volumes that lie right,
0.67 to 0.79 in five phantoms with head and feet, front and back exchanged whose level looked sure."""
MIRROR_GAIN: Final = 0.03
"""By how much the vessels of the mirror image must be surer to say so. Of 29 volumes that lie right (18 phantoms, 11
patients) the most is 0.024; of their mirror images 25 are noticed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Half a turn about one axis of the patient: signs of x, y, z, and how it comes about."""

    signs: tuple[int, int, int]
    cause: str


TURNS: Final = (
    Turn((-1, 1, -1), "head first and feet first exchanged"),
    Turn((-1, -1, 1), "supine and prone exchanged"),
    Turn((1, -1, -1), "head first supine and feet first prone exchanged"),
)


def turned(volume: Volume, turn: Turn) -> Volume:
    """Turn a volume about the origin of patient space; no voxel value changes."""
    return replace(volume, affine=np.diag([*turn.signs, 1.0]) @ volume.affine)


def find(volume: Volume, finder: LevelFinder) -> Level | NotInView:
    """Find the level; where the answer is doubtful, look at the volume turned as well.

    A volume that shows no level as it is, and one when turned, stays "not in view"; the reason says so.

    Raises:
        OrientationRefused: the level is doubtful, and clear when the volume is turned.
    """
    found = level.find(volume, finder)
    if isinstance(found, Level) and found.confidence >= DOUBTFUL and not found.warnings:
        return found
    sure = 0.0 if isinstance(found, NotInView) else found.confidence
    text = _clearer(volume, finder, sure)
    if not text:
        return found
    if isinstance(found, NotInView):
        return NotInView(f"{found.reason}; {text}")
    raise OrientationRefused(text)


def check(volume: Volume, finder: LevelFinder, found: Level, vessels: float | None) -> None:
    """Look at the volume turned where the network hardly knows the vessels, though the level is sure.

    vessels: as `vessel_confidence` gives it.

    Raises:
        OrientationRefused: the level is much surer when the volume is turned.
    """
    if vessels is None or vessels >= STRANGE_VESSELS:
        return
    text = _clearer(volume, finder, found.confidence)
    if text:
        raise OrientationRefused(text)


def _clearer(volume: Volume, finder: LevelFinder, sure: float) -> str:
    """Sentence about the half turn in which the level is clear, and much surer; "" without one."""
    clear: list[tuple[float, Turn]] = []
    for turn in TURNS:
        seen = finder.locate(turned(volume, turn))
        if isinstance(seen, Level) and _is_clear(seen, sure):
            clear.append((seen.confidence, turn))
    if not clear:
        return ""
    there, turn = max(clear, key=lambda pair: pair[0])
    as_sent = f"{sure:.2f} as sent" if sure else "not as sent"
    return (
        f"the picture fits a patient registered with {turn.cause} (level found with confidence {there:.2f} when turned,"
        f" {as_sent}): check Patient Position and send it again"
    )


def _is_clear(seen: Level, sure: float) -> bool:
    return not seen.warnings and seen.confidence >= max(DOUBTFUL, sure + GAIN)


def vessel_confidence(logits: Array) -> float | None:
    """Mean probability of artery and vein where each is best; None where one of them is nowhere.

    logits: (channels, i, j, k).
    """
    best, means = logits.argmax(0), []
    for name in ("aa", "ivc"):
        there = best == BY_ID[name].value
        if not there.any():
            return None
        means.append(float(softmax(logits[:, there], axis=0)[BY_ID[name].value].mean()))
    return sum(means) / len(means)


def mirrored(patch: Patch) -> Patch:
    """Exchange left and right of a patch on its own grid, whose last axis runs to the left."""
    centre = patch.centre
    if centre is not None:
        centre = (centre[0], centre[1], patch.values.shape[2] - 1 - centre[2])
    values, valid = (np.ascontiguousarray(a[:, :, ::-1]) for a in (patch.values, patch.valid))
    return replace(patch, values=values, valid=valid, centre=centre)


def vessel_findings(patch: Patch, here: float | None, engine: Engine) -> list[Finding]:
    """Warn where artery and vein are told apart more surely in the mirror image.

    here: as `vessel_confidence` gives it for the patch.
    """
    if here is None or here >= WEAK_VESSELS:
        return []
    there = vessel_confidence(engine.run(mirrored(patch)))
    if there is None or there - here <= MIRROR_GAIN:
        return []
    text = (
        f"artery and vein are told apart more surely in the mirror image ({there:.2f} for {here:.2f}): left and right may"
        " be exchanged, or the vessels lie otherwise than usual; check the vessels"
    )
    return [Finding("vessel_side_uncertain", text, "warning")]


def tilt_findings(volume: Volume) -> list[Finding]:
    """Warn where the image's axes are tilted against the patient's by more than the networks were trained for."""
    axes = volume.oriented(AXIAL).directions
    cosines = np.clip(np.sum(axes * AXIAL, axis=0), -1.0, 1.0)
    degrees = float(np.rad2deg(np.arccos(cosines)).max())
    if degrees <= OBLIQUITY_DEG:
        return []
    text = (
        f"the image's axes are tilted by {degrees:.1f}° against the patient's, {OBLIQUITY_DEG:g}° are what the networks"
        " know: check level and outlines"
    )
    return [Finding("tilted_view", text, "warning")]
