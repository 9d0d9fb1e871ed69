"""Label discs by finding the best anatomically consistent chain of candidates; returns level and confidence.

Counting from the sacrum is a convention (`dicomseg.segmentation.COUNTING_RULE`). All discs are labelled
together, because the likely error is not a few millimetres but one level: every disc looks like
its neighbour, and only the chain distinguishes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Array, Points
from model.networks.disc_channels import ABOVE, L5S1, L34, L45

DISC_SPACING_MM: Final = (22.0, 50.0)
"""Distance between neighbouring disc centres: 35.4–36.6 ± 2.5 mm in 24 SPIDER subjects, generous ends."""
USUAL_STEP_MM: Final = 36.0
SIZE_TOLERANCE: Final = 0.1
MIN_STEPS: Final = 2
SCALE_RANGE: Final = (0.75, 1.33)
"""A spine whose discs lie closer together or further apart than usual by more than `SIZE_TOLERANCE` is searched again in
the usual size, within `SCALE_RANGE` (ADR 0020): a network takes a disc two small vertebrae above the sacrum for L4/5."""
SAME_LEVEL_MM: Final = 14.0
"""Candidates within this height of each other are the same disc in two countings."""
MIN_PEAK: Final = 0.25
"""A heat-map peak below this is not a disc."""
DISC_COST: Final = 0.3
"""Cost of a disc in a chain: a weaker identity than this is better left out."""
GAP_COST: Final = 0.25
"""Cost of passing over one disc that was not seen."""
FULL_MARGIN: Final = 0.4
MAX_MARGINS: Final = 3
"""Lead over another counting at which this one counts as certain, for each named disc, and of how many at most. A finder
that knew only phantoms was wrong in 63 of 168 real spines and parts of spines: the confidence was then 0.45 at most,
above 0.25 in three. Of 40 phantoms, all right, the shipped finder doubts three."""
MIN_CONFIDENCE: Final = 0.25
"""Below this the level is "not in the field of view"."""
DOUBTFUL_CONFIDENCE: Final = 0.5
"""Below this the level carries a warning."""
UNSEEN_FACTOR: Final = 0.49
"""Factor of the confidence where L4/5 is not seen itself but lies between two discs that are."""
RIVAL_PEAK: Final = 0.7
RIVAL_SHARE: Final = 0.9
"""A peak below the chain is warned of from here on, or from this share of the counted L5/S1's own. The peak was set
by SPIDER subject 98, counted a level too high by one finder (0.74; at most 0.69 in 27 others), the share by 162, whose
L5 has slipped on a level sacrum and is taken for S1: 0.93 and 1.57 of it in two trainings. Of 26 others, one had 0.85
to 1.15 in three, the rest at most 0.91."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A peak that looks like a disc: LPS mm and the probability of each channel, (channels,)."""

    centre_lps: Points
    identity: Array


Named = tuple[tuple[int, Candidate], ...]
"""Discs with their channel, from below upwards."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Discs in order from the sacrum upwards: (channel, candidate), and the lead of its counting.

    rival: a peak below all of them that looks like L5/S1 too. between: where L4/5 must be, halfway between L5/S1 and
    L3/4, when these are seen and it is not.
    """

    discs: Named
    margin: float = 0.0
    rival: Candidate | None = None
    between: Candidate | None = None

    def disc(self, channel: int) -> Candidate | None:
        """Return the disc of `channel`; None where the chain has none."""
        return next((c for n, c in self.discs if n == channel), None)


def scale_to_usual_size(chain: Chain) -> float:
    """Return the factor by which to enlarge the spine for its discs to lie `USUAL_STEP_MM` apart; 1 where that is near.

    By the median of the steps between neighbours in the chain, whatever their names. 1 as well with fewer than two
    such steps.
    """
    steps = [
        float(np.linalg.norm(upper.centre_lps - lower.centre_lps))
        for (below, lower), (above, upper) in pairwise(chain.discs)
        if above - below == 1 or above == below == ABOVE
    ]
    if len(steps) < MIN_STEPS:
        return 1.0
    factor = USUAL_STEP_MM / float(np.median(steps))
    return 1.0 if abs(factor - 1) < SIZE_TOLERANCE else float(np.clip(factor, *SCALE_RANGE))


def _step_cost(
    lower: Candidate, upper: Candidate, from_channel: int, to_channel: int
) -> float | None:
    """Return the cost of a step from one disc to the next; None when they cannot be neighbours in a chain."""
    step = upper.centre_lps - lower.centre_lps
    distance = float(np.linalg.norm(step))
    if step[2] <= 0.5 * distance:
        return None
    low, high = DISC_SPACING_MM
    count = to_channel - from_channel
    if count == 1 or from_channel == to_channel == ABOVE:
        return 0.0 if low <= distance <= high else None
    if count == 2:
        return GAP_COST if 1.5 * low <= distance <= 2 * high else None
    return None


def _best_path(
    candidates: Sequence[Candidate], excluded: Sequence[tuple[int, Candidate]] = ()
) -> tuple[float, Named]:
    """Return the highest-scoring chain without discs near one of `excluded` with the same channel."""
    best: dict[tuple[int, int], tuple[float, Named]] = {}
    for n, candidate in enumerate(candidates):
        for channel in range(ABOVE + 1):
            if any(channel == c and _same_height(candidate, other) for c, other in excluded):
                continue
            gain = float(candidate.identity[channel]) - DISC_COST
            score = gain
            path: Named = ((channel, candidate),)
            for (m, before), (sum_before, path_before) in best.items():
                cost = None if m == n else _step_cost(candidates[m], candidate, before, channel)
                if cost is not None and sum_before + gain - cost > score:
                    score, path = sum_before + gain - cost, (*path_before, (channel, candidate))
            best[n, channel] = score, path
    return max(best.values(), key=lambda item: item[0], default=(0.0, ()))


def _same_height(candidate: Candidate, other: Candidate) -> bool:
    return bool(abs(float(candidate.centre_lps[2] - other.centre_lps[2])) < SAME_LEVEL_MM)


def best_chain(candidates: Sequence[Candidate]) -> Chain:
    """Name the discs so that neighbours fit and the sum of identities is largest.

    The lead is over the best counting in which each named disc has another name, or none; a chain that only leaves a
    disc out counts alike.
    """
    score, path = _best_path(candidates)
    chain = Chain(path)
    between = _between(chain)
    if chain.disc(L45) is None and between is None:
        return chain
    named = [(channel, disc) for channel, disc in path if channel != ABOVE]
    margin = score - max(0.0, _best_path(candidates, named)[0])
    return Chain(path, margin, _rival(candidates, path[0][1], chain.disc(L5S1)), between)


def _between(chain: Chain) -> Candidate | None:
    """Return the middle of its neighbours where they are in the chain and L4/5 is not: outside the slab, or fused."""
    lower, upper = chain.disc(L5S1), chain.disc(L34)
    if chain.disc(L45) is not None or lower is None or upper is None:
        return None
    identity = np.zeros_like(lower.identity)
    identity[L45] = min(float(lower.identity[L5S1]), float(upper.identity[L34]))
    return Candidate((lower.centre_lps + upper.centre_lps) / 2, identity)


def _rival(
    candidates: Sequence[Candidate], lowest: Candidate, counted: Candidate | None
) -> Candidate | None:
    """Return another L5/S1 below the chain's lowest disc: the counting may have begun a level too high."""
    below = [
        c
        for c in candidates
        if c.centre_lps[2] < lowest.centre_lps[2]
        and np.linalg.norm(c.centre_lps - lowest.centre_lps) > SAME_LEVEL_MM
    ]
    rival = max(below, key=lambda c: float(c.identity[L5S1]), default=None)
    threshold = RIVAL_PEAK
    if counted is not None:
        threshold = min(RIVAL_PEAK, max(MIN_PEAK, RIVAL_SHARE * float(counted.identity[L5S1])))
    return None if rival is None or rival.identity[L5S1] < threshold else rival


def _normal(chain: Chain) -> Points:
    """Return the unit spine tangent at L4/5 from the neighbours in view, towards the head."""
    centres = [c.centre_lps for n, c in chain.discs if abs(n - L45) <= 1]
    steps = [b - a for a, b in pairwise(centres)]
    if not steps:
        return np.array([0.0, 0.0, 1.0])
    total = np.sum([s / np.linalg.norm(s) for s in steps], axis=0)
    return np.asarray(total / np.linalg.norm(total))


def level_from_chain(chain: Chain) -> Level | NotInView:
    """Return the level of a chain: confidence = peak × lead over another counting × neighbours seen."""
    seen = chain.disc(L45)
    disc = seen or chain.between
    if disc is None:
        return NotInView()
    neighbours = sum(chain.disc(n) is not None for n in (L45 - 1, L45 + 1))
    named = sum(channel != ABOVE for channel, _ in chain.discs)
    full = FULL_MARGIN * min(named, MAX_MARGINS)
    certainty = float(np.clip(chain.margin / full, 0.0, 1.0))
    confidence = min(1.0, float(disc.identity[L45])) * certainty * (0.7, 0.9, 1.0)[neighbours]
    confidence *= UNSEEN_FACTOR if seen is None else 1.0
    if confidence < MIN_CONFIDENCE:
        return NotInView(
            f"L4/5 not in the field of view (best candidate has confidence {confidence:.2f}, {MIN_CONFIDENCE} is needed)"
        )
    warnings = []
    if confidence < DOUBTFUL_CONFIDENCE:
        warnings.append(f"the level is uncertain (confidence {confidence:.2f}): check the counting")
    if seen is None:
        warnings.append("L4/5 itself is not seen: it was put halfway between L5/S1 and L3/4")
    if chain.disc(L45 - 1) is None:
        warnings.append("L5/S1 is not seen: the level was not counted from the sacrum")
    if chain.rival is not None:
        peak = float(chain.rival.identity[L5S1])
        warnings.append(
            f"a place below the counted discs also looks like L5/S1 (peak {peak:.2f}): check the counting"
        )
    x, y, z = (float(v) for v in disc.centre_lps)
    a, b, c = (float(v) for v in _normal(chain))
    return Level((x, y, z), (a, b, c), round(confidence, 3), tuple(warnings))
