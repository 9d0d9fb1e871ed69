"""The path of one volume: level, window, prediction, labels, findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy.special import softmax

from dicomseg.segmentation import NotInView, Scores, Segmentation
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Volume
from model import orientation, plausibility, postprocess
from model.bundle.load import LoadedModel
from model.errors import WindowRefused
from model.window import Window


def segment(
    volume: Volume, model: LoadedModel, progress: Callable[[str], None] | None = None
) -> Segmentation | NotInView:
    """Locate L4/5, run the networks on the paper's window about it, and bring labels to the source grid.

    volume: any orientation, finite values. progress: called with each stage as it starts.

    Raises:
        WindowRefused: voxels that are not finite, or constant ones at the level.
        OrientationRefused: the level is clear only when the volume is turned.
        EngineFailed: a network computed values that are not finite.
    """
    _refuse_non_finite(volume)
    stages = _Stages(progress)
    stages.begin("level")
    level = orientation.locate_level(volume, model.finder)
    if isinstance(level, NotInView):
        return level
    stages.begin("window")
    window = Window.at(volume, level)
    patch = window.cut(model.engine.interpolation)
    prediction = model.predict(patch, stages.begin)
    vessels = orientation.vessel_confidence(prediction.logits)
    orientation.refuse_clearer_turn(volume, model.finder, level, vessels)
    stages.begin("labels")
    prediction = replace(prediction, scores=postprocess.largest_components(prediction.scores))
    labels = window.paint(prediction)
    sides = postprocess.split_sides(labels.volume)
    stages.begin("plausibility", announce=False)
    outside = plausibility.outside_view(labels, level)
    findings = (
        *plausibility.plausibility_findings(labels, level, outside),
        *orientation.orientation_findings(volume, patch, vessels, model.engine),
    )
    confidence = structure_confidence(prediction.scores)
    stages.end()
    scores = shifted(prediction.scores, model.outline_shifts)
    return Segmentation(
        level, labels, sides, scores, model.info, findings, confidence, outside, stages.seconds
    )


def structure_confidence(scores: Scores) -> dict[StructureId, float]:
    """Return the mean softmax probability of each structure over the voxels where it is best."""
    best = scores.logits.argmax(0)
    out: dict[StructureId, float] = {}
    for structure in STRUCTURES:
        mask = best == structure.value
        if mask.any():
            out[structure.id] = round(
                float(softmax(scores.logits[:, mask], axis=0)[structure.value].mean()), 3
            )
    return out


def shifted(scores: Scores, shifts: Mapping[StructureId, float]) -> Scores:
    """Return the scores to measure: logits of structures corrected for outlines that lie too far out or in.

    The labels are painted before: a shift that makes lengths right costs a little of their Dice (ADR 0019).
    """
    if not shifts:
        return scores
    logits = scores.logits.copy()
    for name, value in shifts.items():
        logits[BY_ID[name].value] += value
    return Scores(logits, scores.affine)


def _refuse_non_finite(volume: Volume) -> None:
    """Refuse values in which no level can be found; "not in view" would be the wrong result."""
    bad = volume.array.size - int(np.count_nonzero(np.isfinite(volume.array)))
    if bad:
        raise WindowRefused(
            f"{bad} of {volume.array.size} voxels are not finite numbers; resend the series"
        )


class _Stages:
    """Seconds of each stage, by name, in the order in which they began."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._stage = ""
        self._since = 0.0

    def begin(self, stage: str, *, announce: bool = True) -> None:
        """End the running stage and begin another one."""
        self.end()
        if announce and self._progress is not None:
            self._progress(stage)
        self._stage, self._since = stage, time.perf_counter()

    def end(self) -> None:
        """End the running stage, if any, and record its seconds."""
        if self._stage:
            self.seconds[self._stage] = time.perf_counter() - self._since
        self._stage = ""
