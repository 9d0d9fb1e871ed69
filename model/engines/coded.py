"""Intensity-coded volumes: grey values that spell out the answer, to test geometry without a network.

A coded voxel names its best class, the runner-up and by how many logits the best one leads. An engine
that decodes it makes the whole path, from C-STORE to the stored objects, comparable with known truth.
Never shipped as a bundle; `write_bundle` makes one for a test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from dicomseg.segmentation import Level, NotInView
from dicomseg.structures import BY_ID, CHANNELS, StructureId
from dicomseg.volume import Array, Volume

STEPS: Final = 768
"""Levels of the coded margin: as many as sixteen bits hold."""
MOST_MARGIN: Final = 8.0
"""Margin in logits at which the code saturates."""
BEHIND: Final = 1.0
"""How far every other class lies behind the runner-up: the code does not name the third, and a third
that is far below would bend the outlines where two structures face each other across a narrow gap."""
LEAST_MARGIN: Final = 1e-3
"""Lead that a margin of zero decodes to: on a tie the best class is still the one that was coded."""
FAR: Final = -12.0
"""Logit of every structure where there is no data."""


def code(best: Array, runner_up: Array, margin: Array) -> Array:
    """Grey values uint16 from best class, runner-up (uint8) and lead in logits (float, ≥ 0)."""
    steps = np.round(np.clip(margin, 0, MOST_MARGIN) / MOST_MARGIN * (STEPS - 1)).astype(np.uint16)
    pair = best.astype(np.uint16) * CHANNELS + runner_up.astype(np.uint16)
    return np.asarray(pair * STEPS + steps, dtype=np.uint16)


def decode(coded: Array) -> Array:
    """Logits (channels, i, j, k) float32; values that are no code become background."""
    values = np.round(coded).astype(np.int64)
    bad = (values < 0) | (values >= CHANNELS * CHANNELS * STEPS)
    values = np.where(bad, STEPS - 1, values)
    pair, step = np.divmod(values, STEPS)
    best, runner_up = np.divmod(pair, CHANNELS)
    margin = np.maximum(step / (STEPS - 1) * MOST_MARGIN, LEAST_MARGIN)
    half = (margin / 2).astype(np.float32)
    logits = np.repeat(-half[None] - BEHIND, CHANNELS, axis=0)
    np.put_along_axis(logits, runner_up[None], -half[None], axis=0)
    np.put_along_axis(logits, best[None], half[None], axis=0)
    return logits


def labels(coded: Array) -> Array:
    """Best class per voxel, uint8."""
    return np.asarray(
        np.clip(np.round(coded).astype(np.int64) // STEPS // CHANNELS, 0, CHANNELS - 1),
        dtype=np.uint8,
    )


class OracleFinder:
    """Takes the centre of the decoded disc as the level."""

    def locate(self, volume: Volume) -> Level | NotInView:
        """Answer for one coded volume; the normal runs from the decoded L5 to L4."""
        decoded = labels(volume.array)
        centres = {}
        names: tuple[StructureId, ...] = ("l4", "ivd", "l5")
        for name in names:
            index = np.argwhere(decoded == BY_ID[name].value)
            if len(index) == 0:
                return NotInView()
            centres[name] = volume.to_patient(index.mean(axis=0))
        normal = centres["l4"] - centres["l5"]
        normal /= np.linalg.norm(normal)
        x, y, z = (float(v) for v in centres["ivd"])
        return Level((x, y, z), (float(normal[0]), float(normal[1]), float(normal[2])), 1.0)


def write_bundle(folder: Path) -> Path:
    """Write a bundle whose engine decodes coded volumes; returns the folder."""
    from model.bundle.load import SCHEMA, seal  # noqa: PLC0415 - bundle imports this module

    folder.mkdir(parents=True, exist_ok=True)
    card = {"schema": SCHEMA, "name": "oracle", "version": "1", "architecture": {"name": "oracle"}}
    (folder / "card.json").write_text(
        json.dumps(seal(card, folder), indent=1) + "\n", encoding="utf-8"
    )
    return folder
