"""What the labels of a source mean: which of the network's channels each label holds.

Sources draw by different rules. SPIDER leaves the bony end plates between disc and body unlabelled and draws the spinal
canal; phantoms draw bodies up to the disc and the dural sac. A network that is to learn from both has channels for what
the rules disagree about, and a label holds every channel that its source draws into it: the loss adds their probabilities
(`training.fit.loss`). So each structure means the same wherever it was learned.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from scipy import ndimage

from dicomseg.structures import BY_ID, CHANNELS, StructureId
from dicomseg.volume import Array
from training.data.cases import IGNORED, Case

L4_ENDPLATE: Final = CHANNELS
"""Lower end plate of L4."""
L5_ENDPLATE: Final = CHANNELS + 1
"""Upper end plate of L5."""
EPIDURAL: Final = CHANNELS + 2
"""The spinal canal outside of the dural sac."""
RULED_CHANNELS: Final = CHANNELS + 3
"""Channels of a network that keeps apart what the sources' rules disagree about."""

EndPlates = Literal["unlabelled", "in bodies", "unclear"]
MOST_GAP_MM: Final = 4.0
"""A disc further than this from a body has another reason than an end plate."""
LEAST_STRIP_MM: Final = 0.5
"""With less between disc and body, a reader left no strip; where the end plate is then, is not known."""
UNCLEAR_MM: Final = 1.5
"""So far from the border of disc and body nothing is taught where the end plate's place is not known."""
SLACK_MM: Final = 0.6
"""How much longer than the straight way through the strip a way past one of its voxels may be."""

_L4, _DISC, _L5 = (BY_ID[name].value for name in ("l4", "ivd", "l5"))
_DURA: Final = BY_ID["dura"].value
_LOWER, _UPPER = 20, 40
"""In `Case.spine`: lower end plate of body n is 20 + n, upper one 40 + n."""


def classes(labelled: Collection[StructureId], channels: int = CHANNELS) -> tuple[int, ...]:
    """Return for each channel the label that holds it, 0 for the background; labels drawn as the phantoms are."""
    known = {BY_ID[name].value for name in labelled}
    plain = [c if c in known else 0 for c in range(CHANNELS)]
    further = {
        L4_ENDPLATE: _L4 if _L4 in known else 0,
        L5_ENDPLATE: _L5 if _L5 in known else 0,
        EPIDURAL: 0,
    }
    return (*plain, *(further[c] for c in range(CHANNELS, channels)))


def classes_of(case: Case, channels: int = CHANNELS) -> tuple[int, ...]:
    """Return for each channel the label of this case that holds it.

    case: as `ruled` returns it where the network has more than the structures' channels.
    """
    held = list(classes(case.labelled, channels))
    if channels == CHANNELS:
        return tuple(held)
    if (case.labels == L4_ENDPLATE).any() or (case.labels == L5_ENDPLATE).any():
        held[L4_ENDPLATE], held[L5_ENDPLATE] = L4_ENDPLATE, L5_ENDPLATE
    if draws_canal(case) and "dura" in case.labelled:
        held[EPIDURAL] = _DURA
    return tuple(held)


def draws_canal(case: Case) -> bool:
    """Return whether the label of the dural sac is the complete spinal canal: SPIDER's rule."""
    return case.source == "spider"


def ruled(case: Case) -> Case:
    """Return the case with the end plates as labels of their own, where its source leaves them unlabelled.

    Where readers left no strip, the voxels about the border of disc and body are `IGNORED`. A phantom is returned as it
    is: its bodies include the end plates.
    """
    if case.source == "phantom":
        return case
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    if case.spine is None:
        labels = case.labels.copy()
        _divide(labels, (_L4, _DISC, _L5), (L4_ENDPLATE, L5_ENDPLATE), spacing)
        return replace(case, labels=labels)
    spine = case.spine.copy()
    for n in range(2, _LOWER):
        if {n, n - 1, 200 + n} <= set(np.unique(case.spine).tolist()):
            _divide(spine, (n, 200 + n, n - 1), (_LOWER + n, _UPPER + n - 1), spacing)
    ruled_case = replace(case, spine=spine)
    return replace(ruled_case, labels=_l45(case.labels, spine))


def _l45(labels: Array, spine: Array) -> Array:
    """Return the labels with the end plates of L4/5 and what is ignored there."""
    out = labels.copy()
    free = out == 0
    out[free & (spine == _LOWER + 2)] = L4_ENDPLATE
    out[free & (spine == _UPPER + 1)] = L5_ENDPLATE
    out[spine == IGNORED] = IGNORED
    return out


def endplate_codes(number: int) -> dict[int, int]:
    """Return what the codes of end plates in a ruled `Case.spine` become where disc `number` serves as L4/5."""
    return {_LOWER + number: L4_ENDPLATE, _UPPER + number - 1: L5_ENDPLATE, IGNORED: IGNORED}


def strip_mm(labels: Array, body: int, disc: int, spacing: Array) -> float | None:
    """Return the median thickness of what is unlabelled between a disc and a body, mm; None where they do not face."""
    box = _about(labels, (body, disc), spacing)
    inner = labels[box]
    gap = ndimage.distance_transform_edt(inner != body, spacing)[inner == disc]
    faces = _facing(inner, disc, body, spacing)
    return (
        None if not faces.any() else float(np.median(gap[faces[inner == disc]])) - _pitch(spacing)
    )


def _facing(labels: Array, disc: int, body: int, spacing: Array) -> Array:
    """Return the disc's voxels whose nearest voxel of the body is near, and that are the nearest to it in turn."""
    away, index = ndimage.distance_transform_edt(labels != body, spacing, return_indices=True)
    back = ndimage.distance_transform_edt(labels != disc, spacing)
    there = back[tuple(index)]
    return np.asarray((labels == disc) & (away <= MOST_GAP_MM) & (away - there <= SLACK_MM))


def _divide(
    labels: Array, parts: tuple[int, int, int], endplates: tuple[int, int], spacing: Array
) -> None:
    """Write the end plates between a disc and its bodies into the labels, in place.

    parts: labels of the body above, of the disc, of the body below. endplates: labels of theirs.
    """
    above, disc, below = parts
    if not all((labels == part).any() for part in parts):
        return
    for body, endplate in zip((above, below), endplates, strict=True):
        thickness = strip_mm(labels, body, disc, spacing)
        if thickness is None:
            continue
        box = _about(labels, (body, disc), spacing)
        view = labels[box]  # a view: what is written arrives in `labels`
        to_body, index = ndimage.distance_transform_edt(view != body, spacing, return_indices=True)
        to_disc, nearest = ndimage.distance_transform_edt(
            view != disc, spacing, return_indices=True
        )
        if thickness < LEAST_STRIP_MM:
            close = (to_body <= UNCLEAR_MM) & (to_disc <= UNCLEAR_MM)
            view[close & np.isin(view, (0, body, disc))] = IGNORED
            continue
        straight = np.minimum(to_body[tuple(nearest)], to_disc[tuple(index)])
        between = (to_body + to_disc <= straight + SLACK_MM) & (straight <= MOST_GAP_MM)
        view[between & (view == 0)] = endplate


def _about(labels: Array, values: tuple[int, ...], spacing: Array) -> tuple[slice, ...]:
    """Return the box of these labels with a margin, inside the array."""
    found = np.argwhere(np.isin(labels, values))
    margin = np.ceil(2 * MOST_GAP_MM / spacing).astype(int)
    low = np.maximum(found.min(axis=0) - margin, 0)
    high = found.max(axis=0) + margin + 1
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _pitch(spacing: Array) -> float:
    """Return the distance of neighbours that touch, along the body."""
    return float(spacing[0])
