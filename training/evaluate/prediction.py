"""What the inference pipeline predicts for one prepared case, and its scores: level, window, network, labels.

Voxels count inside the window that was analysed and the one about the true level, on the case's own grid,
so that what a displaced window misses counts as missed. A missed level counts as Dice 0 for every
structure of that case, so that a network cannot hide behind its level finder.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dicomseg.segmentation import Labels, Level, NotInView, Segmentation
from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Volume
from model.bundle.load import LoadedModel
from model.errors import WindowRefused
from model.segment import segment
from model.window import Window
from training.data.cases import IGNORED, Case
from training.evaluate import metrics
from training.evaluate.metrics import MISSED, Score
from training.evaluate.parts import Part, part_scores


def true_window(case: Case) -> Array:
    """Return the voxels that the window about the true level holds: bool, the case's shape."""
    volume = Volume(case.image, case.affine)
    window = Window.at(volume, Level(case.level_centre_lps, case.level_normal, 1.0))
    grid = Volume(np.zeros(window.shape, np.uint8), window.affine)
    inside = np.zeros(volume.shape, bool)
    for i in range(volume.shape[0]):
        index = np.stack(
            np.meshgrid([i], *(np.arange(n) for n in volume.shape[1:]), indexing="ij"), -1
        )
        at = grid.to_index(volume.to_patient(index))
        inside[i] = np.all((at >= -0.5) & (at <= np.array(window.shape) - 0.5), axis=-1)[0]
    return inside


def structure_scores(case: Case, predicted: Labels, counted: Array) -> dict[StructureId, Score]:
    """Score each structure that the case labels, where voxels count; see `Score` for what is missing."""
    spacing = predicted.volume.spacing_mm
    out: dict[StructureId, Score] = {}
    for name in case.labelled:
        value = BY_ID[name].value
        truth = (case.labels == value) & counted
        score = metrics.score((predicted.volume.array == value) & counted, truth, spacing)
        if score is not None:
            out[name] = score
    return out


def missed_scores(case: Case) -> dict[StructureId, Score]:
    """Return the scores of a case whose level was missed, and with it every structure that it labels and shows."""
    return {name: MISSED for name in case.labelled if (case.labels == BY_ID[name].value).any()}


@dataclass(frozen=True, slots=True, eq=False)
class CasePrediction:
    """What the inference pipeline predicts for one case."""

    scores: Mapping[StructureId, Score]
    segmentation: Segmentation | None
    """None where there is no prediction; `why` names the reason."""
    why: str
    level_error_mm: float | None
    seconds: float
    parts: Mapping[Part, Score] = field(default_factory=dict)


def predict_case(case: Case, model: LoadedModel) -> CasePrediction:
    """Run the inference pipeline on one case; a refused image counts as a missed level."""
    start = time.perf_counter()
    try:
        outcome = segment(Volume(case.image, case.affine), model)
    except WindowRefused as refused:
        outcome = NotInView(refused.code)
    seconds = time.perf_counter() - start
    if isinstance(outcome, NotInView):
        return CasePrediction(missed_scores(case), None, outcome.reason, None, seconds)
    error = float(np.linalg.norm(np.subtract(outcome.level.centre_lps, case.level_centre_lps)))
    counted = (outcome.labels.analysed_mask | true_window(case)) & (case.labels != IGNORED)
    scores = structure_scores(case, outcome.labels, counted)
    parts = part_scores(case, outcome.labels.volume, counted)
    return CasePrediction(scores, outcome, "", error, seconds, parts)
