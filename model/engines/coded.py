"""A fake engine for label-coded volumes: grey values that encode the labels, to test geometry without a network.

A coded voxel holds its best class, the runner-up and the lead of the best one in logits. An engine that decodes it
makes the complete path, from C-STORE to the stored objects, comparable with known labels. Never shipped as a bundle;
`model.bundle.write.write_coded_bundle` makes one for a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dicomseg.segmentation import Level, NotInView
from dicomseg.structures import BY_ID, CHANNELS, StructureId
from dicomseg.volume import Array, Volume
from model.patch import Interpolation, Patch

NAME: Final = "label_coded"
"""Architecture in a card, and name of the engine."""
NAMES: Final = frozenset({NAME, "oracle"})
"""Architectures that a card may name; bundles written by version 0.1 have the second one."""
MARGIN_STEPS: Final = 768
"""Levels of the coded margin: as many as sixteen bits hold."""
MAX_MARGIN: Final = 8.0
"""Margin in logits at which the code saturates."""
THIRD_CLASS_GAP: Final = 1.0
"""How far every other class lies below the runner-up: the code does not name the third, and a third
that is far below would bend the outlines where two structures face each other across a narrow gap."""
MIN_MARGIN: Final = 1e-3
"""Lead that a margin of zero decodes to: on a tie the best class is still the coded one."""
BACKGROUND_LOGIT: Final = -12.0
"""Logit of every structure where there is no data."""


def is_coded(card: Mapping[str, Any]) -> bool:
    """Whether a bundle with this card holds no network, but decodes labels."""
    return card["architecture"].get("name") in NAMES


def encode_labels(best: Array, runner_up: Array, margin: Array) -> Array:
    """Return grey values uint16 from best class, runner-up (uint8) and lead in logits (float, ≥ 0)."""
    scaled = np.clip(margin, 0, MAX_MARGIN) / MAX_MARGIN * (MARGIN_STEPS - 1)
    steps = np.round(scaled).astype(np.uint16)
    pair = best.astype(np.uint16) * CHANNELS + runner_up.astype(np.uint16)
    return np.asarray(pair * MARGIN_STEPS + steps, dtype=np.uint16)


def decode_logits(coded: Array) -> Array:
    """Return logits (channels, i, j, k) float32; values outside the code become background."""
    values = np.round(coded).astype(np.int64)
    bad = (values < 0) | (values >= CHANNELS * CHANNELS * MARGIN_STEPS)
    values = np.where(bad, MARGIN_STEPS - 1, values)
    pair, step = np.divmod(values, MARGIN_STEPS)
    best, runner_up = np.divmod(pair, CHANNELS)
    margin = np.maximum(step / (MARGIN_STEPS - 1) * MAX_MARGIN, MIN_MARGIN)
    half = (margin / 2).astype(np.float32)
    logits = np.repeat(-half[None] - THIRD_CLASS_GAP, CHANNELS, axis=0)
    np.put_along_axis(logits, runner_up[None], -half[None], axis=0)
    np.put_along_axis(logits, best[None], half[None], axis=0)
    return logits


def decode_labels(coded: Array) -> Array:
    """Return the best class per voxel, uint8."""
    return np.asarray(
        np.clip(np.round(coded).astype(np.int64) // MARGIN_STEPS // CHANNELS, 0, CHANNELS - 1),
        dtype=np.uint8,
    )


class CodedEngine:
    """Decodes a label-coded patch."""

    name = NAME
    precision = "exact"
    interpolation: Interpolation = "nearest"

    def warm(self, shape: Sequence[int]) -> None:
        """Prepare nothing."""

    def run(self, patch: Patch) -> Array:
        """Return logits at full resolution, (channels, d, h, w); background where the patch holds no data."""
        logits = decode_logits(patch.raw())
        logits[1:, ~patch.valid] = BACKGROUND_LOGIT
        logits[0, ~patch.valid] = MAX_MARGIN / 2
        return logits


class CodedFinder:
    """Takes the centre of the decoded disc as the level."""

    def locate(self, volume: Volume) -> Level | NotInView:
        """Return the level of a coded volume; the normal runs from the decoded L5 to L4."""
        decoded = decode_labels(volume.array)
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
