"""The one call: a volume in, the segmentation or "not in view" out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import softmax

from dicomseg.segmentation import NotInView, Scores, Segmentation
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Volume
from model import plausibility, postprocess, turned, window
from model.bundle.load import LoadedModel
from model.errors import WindowRefused
from model.roots import scores_with


def confidence_of(scores: Scores) -> dict[StructureId, float]:
    """Mean softmax probability of each structure over the voxels where it is best."""
    best = scores.logits.argmax(0)
    out: dict[StructureId, float] = {}
    for structure in STRUCTURES:
        chosen = best == structure.value
        if chosen.any():
            out[structure.id] = round(
                float(softmax(scores.logits[:, chosen], axis=0)[structure.value].mean()), 3
            )
    return out


def shifted(scores: Scores, shifts: Mapping[StructureId, float]) -> Scores:
    """Return the scores that are measured: logits of structures moved by what their outlines lie too far out or in.

    The labels are made before: a shift that makes lengths right costs a little of their Dice (ADR 0019).
    """
    if not shifts:
        return scores
    logits = scores.logits.copy()
    for name, value in shifts.items():
        logits[BY_ID[name].value] += value
    return Scores(logits, scores.affine)


def _check(volume: Volume) -> None:
    """Refuse what no level can be found in; "not in view" would be the wrong answer to it."""
    bad = volume.array.size - int(np.count_nonzero(np.isfinite(volume.array)))
    if bad:
        raise WindowRefused(
            f"{bad} of {volume.array.size} voxels are not finite numbers; resend the series"
        )


def segment(
    volume: Volume, model: LoadedModel, progress: Callable[[str], None] | None = None
) -> Segmentation | NotInView:
    """Find L4/5, run the network on the paper's window there, bring the answer back to the source grid.

    Raises:
        WindowRefused: voxels that are not finite, or constant ones at the level.
        OrientationRefused: the level is clear only when the volume is turned.
    """
    say = progress or (lambda _: None)
    timings: dict[str, float] = {}
    last = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        timings[stage] = now - last
        last = now

    _check(volume)
    say("level")
    found = turned.find(volume, model.finder)
    done("level")
    if isinstance(found, NotInView):
        return found
    say("window")
    place = window.place(volume, found)
    patch = window.cut(place, model.engine.interpolation)
    done("window")
    say("network")
    logits = model.engine.run(patch)
    done("network")
    logits = np.ascontiguousarray(logits)
    vessels = turned.vessel_confidence(logits)
    turned.check(volume, model.finder, found, vessels)
    fine = None
    if model.roots is not None:
        say("roots")
        fine = model.roots.logits(patch, logits)
        done("roots")
    say("labels")
    whole = window.scores_of(patch, logits) if fine is None else scores_with(patch, logits, fine)
    scores = postprocess.keep_parts(whole)
    labels = window.restore(volume, place, patch, scores, fine)
    sides = postprocess.split_sides(labels.volume)
    done("labels")
    outside = plausibility.outside_view(labels, found)
    findings = (
        *plausibility.check(labels, found, outside),
        *turned.tilt_findings(volume),
        *turned.vessel_findings(patch, vessels, model.engine),
    )
    confidence = confidence_of(scores)
    done("plausibility")
    scores = shifted(scores, model.outline_shifts)
    return Segmentation(
        found, labels, sides, scores, model.info, findings, confidence, outside, timings
    )
