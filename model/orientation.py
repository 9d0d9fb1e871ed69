"""Detect a registered patient position that contradicts the image, by the volume turned and by its mirror image.

Exchanging head first and feet first, or supine and prone, turns two axes of every header by 180°. The image still
shows a spine, with its sides exchanged. The level finder runs on the turned volume only where the level is doubtful,
the network on the mirror image only where the vessels are uncertain: an ordinary series costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import softmax

from dicomseg.segmentation import Finding, Level, NotInView
from dicomseg.structures import BY_ID
from dicomseg.volume import AXIAL, Array, Volume
from model.engines.port import Engine
from model.errors import OrientationRefused
from model.grid import OBLIQUITY_DEG
from model.level.counting import DOUBTFUL_CONFIDENCE
from model.level.finder import LevelFinder
from model.patch import Patch

MIN_GAIN: Final = 0.2
"""By how much the level must be more certain in the turned volume. Of 87 volumes that lie right (48 phantoms, 28
patients of SPIDER,
11 other patients) ten are doubtful, and none of the 87 is more certain when turned. With head and feet exchanged 75 of them are
doubtful or not in view, and 63 of these are detected; with supine and prone exchanged all and 77, with both 74 and 64."""

WEAK_VESSELS: Final = 0.9
"""Mean probability of artery and vein below which the mirror image is predicted too: 17 of 18 phantoms have 0.92 and more,
real pixels 0.81 to 0.90; phantoms that are mirrored have 0.79 to 0.92."""
STRANGE_VESSELS: Final = 0.8
"""Mean probability of artery and vein below which the image may be turned: 0.81 and more in 29 volumes that lie right,
0.67 to 0.79 in five phantoms with head and feet, front and back exchanged whose level looked sure."""
MIN_MIRROR_GAIN: Final = 0.03
"""By how much the vessels of the mirror image must be more certain for a warning. Of 29 volumes that lie right (18 phantoms, 11
patients) the most is 0.024; of their mirror images 25 are noticed."""


@dataclass(frozen=True, slots=True)
class HalfTurn:
    """Half a turn about one axis of the patient: signs of x, y, z, and the exchange that causes it."""

    signs: tuple[int, int, int]
    cause: str


HALF_TURNS: Final = (
    HalfTurn((-1, 1, -1), "head first and feet first exchanged"),
    HalfTurn((-1, -1, 1), "supine and prone exchanged"),
    HalfTurn((1, -1, -1), "head first supine and feet first prone exchanged"),
)


def half_turned(volume: Volume, turn: HalfTurn) -> Volume:
    """Turn a volume about the origin of patient space; no voxel value changes."""
    return replace(volume, affine=np.diag([*turn.signs, 1.0]) @ volume.affine)


def locate_level(volume: Volume, finder: LevelFinder) -> Level | NotInView:
    """Locate the level; where it is doubtful, search the turned volume as well.

    A volume that shows a level only when turned stays "not in view"; the reason names the turn.

    Raises:
        OrientationRefused: the level is doubtful, and clear when the volume is turned.
    """
    level = finder.locate(volume)
    if isinstance(level, Level) and level.confidence >= DOUBTFUL_CONFIDENCE and not level.warnings:
        return level
    confidence = 0.0 if isinstance(level, NotInView) else level.confidence
    text = _clearer_turn(volume, finder, confidence)
    if not text:
        return level
    if isinstance(level, NotInView):
        return NotInView(f"{level.reason}; {text}")
    raise OrientationRefused(text)


def refuse_clearer_turn(
    volume: Volume, finder: LevelFinder, level: Level, vessels: float | None
) -> None:
    """Search the turned volume where the vessels are uncertain although the level is certain.

    vessels: of `vessel_confidence`.

    Raises:
        OrientationRefused: the level is much more certain when the volume is turned.
    """
    if vessels is None or vessels >= STRANGE_VESSELS:
        return
    text = _clearer_turn(volume, finder, level.confidence)
    if text:
        raise OrientationRefused(text)


def _clearer_turn(volume: Volume, finder: LevelFinder, confidence: float) -> str:
    """Return a sentence on the half turn in which the level is clear and much more certain; "" without one."""
    clear: list[tuple[float, HalfTurn]] = []
    for turn in HALF_TURNS:
        level = finder.locate(half_turned(volume, turn))
        if isinstance(level, Level) and _is_clear(level, confidence):
            clear.append((level.confidence, turn))
    if not clear:
        return ""
    turned_confidence, turn = max(clear, key=lambda pair: pair[0])
    as_sent = f"{confidence:.2f} as sent" if confidence else "not as sent"
    return (
        f"the picture fits a patient registered with {turn.cause} (level found with confidence {turned_confidence:.2f} when turned,"
        f" {as_sent}): check Patient Position and send it again"
    )


def _is_clear(level: Level, confidence: float) -> bool:
    return not level.warnings and level.confidence >= max(
        DOUBTFUL_CONFIDENCE, confidence + MIN_GAIN
    )


def vessel_confidence(logits: Array) -> float | None:
    """Return the mean probability of artery and vein where each is best; None without either of them.

    logits: (channels, i, j, k).
    """
    best, means = logits.argmax(0), []
    for name in ("aa", "ivc"):
        mask = best == BY_ID[name].value
        if not mask.any():
            return None
        means.append(float(softmax(logits[:, mask], axis=0)[BY_ID[name].value].mean()))
    return sum(means) / len(means)


def mirror_image(patch: Patch) -> Patch:
    """Exchange left and right of a patch on its own grid, whose last axis runs to the left."""
    centre = patch.centre
    if centre is not None:
        centre = (centre[0], centre[1], patch.values.shape[2] - 1 - centre[2])
    values, valid = (np.ascontiguousarray(a[:, :, ::-1]) for a in (patch.values, patch.valid))
    return replace(patch, values=values, valid=valid, centre=centre)


def orientation_findings(
    volume: Volume, patch: Patch, vessels: float | None, engine: Engine
) -> list[Finding]:
    """Return warnings of a tilted view and of vessels that look like their mirror image.

    vessels: of `vessel_confidence`, for the patch.
    """
    return [*tilt_findings(volume), *vessel_findings(patch, vessels, engine)]


def vessel_findings(patch: Patch, vessels: float | None, engine: Engine) -> list[Finding]:
    """Warn where the network distinguishes artery and vein with more confidence in the mirror image.

    vessels: of `vessel_confidence`, for the patch.
    """
    if vessels is None or vessels >= WEAK_VESSELS:
        return []
    mirrored = vessel_confidence(engine.run(mirror_image(patch)))
    if mirrored is None or mirrored - vessels <= MIN_MIRROR_GAIN:
        return []
    text = (
        f"artery and vein are distinguished with more confidence in the mirror image ({mirrored:.2f} for {vessels:.2f}):"
        " left and right may be exchanged, or the vessels have an unusual course; check the vessels"
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
