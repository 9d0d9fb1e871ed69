"""Check whether labels look like a spine: findings with a code and a sentence; a refusal blocks measuring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from dicomseg.segmentation import Finding, Labels, Level
from dicomseg.structures import BY_ID, STRUCTURES, Structure, StructureId
from dicomseg.volume import Points

EXPECTED_LPS: Final[Mapping[StructureId, tuple[tuple[float, float, float], ...]]] = {
    "l4": ((0, 0, 18),),
    "ivd": ((0, 0, 0),),
    "l5": ((0, 4, -17),),
    "dura": ((0, 26, 0),),
    "n4": ((22, 20, 5), (-22, 20, 5)),
    "aa": ((8, -28, 2), (20, -24, 0)),
    "pm": ((42, 2, 0), (-42, 2, 0)),
    "ivc": ((-16, -27, 0),),
}
"""Where a structure is expected, in mm from the disc centre: mean shapes of `facts` §1 (body depth 36,
vessels in front, psoas 42 lateral). All its points have to lie inside the image to call it in view."""

VOLUME_ML: Final[Mapping[StructureId, tuple[float, float]]] = {
    "l4": (8, 90),
    "ivd": (2, 35),
    "l5": (8, 90),
    "dura": (1, 40),
    "n4": (0.1, 15),
    "aa": (1, 80),
    "pm": (20, 500),
    "ivc": (1, 110),
}
"""Broad limits for a complete window; the lower one does not judge a structure that is cut."""

COMPLETE_IN_WINDOW: Final[frozenset[StructureId]] = frozenset({"l4", "ivd", "l5"})
"""Structures of which the paper's window holds top and bottom."""


def _centre(labels: Labels, name: StructureId) -> Points | None:
    index = labels.volume.where(BY_ID[name].value)
    return labels.volume.to_patient(index.mean(axis=0)) if len(index) else None


def outside_view(labels: Labels, level: Level) -> frozenset[StructureId]:
    """Return the structures whose expected location at this level is outside the image or the window."""
    missing: set[StructureId] = set()
    shape = np.array(labels.volume.shape)
    for name, offsets in EXPECTED_LPS.items():
        index = np.round(
            labels.volume.to_index(np.array(level.centre_lps) + np.array(offsets))
        ).astype(int)
        inside = np.all((index >= 0) & (index < shape), axis=1)
        if not inside.all() or not labels.analysed_mask[tuple(index.T)].all():
            missing.add(name)
    return frozenset(missing)


def _order(centres: Mapping[StructureId, Points]) -> list[Finding]:
    rules: tuple[tuple[StructureId, StructureId, int, float, str], ...] = (
        ("l4", "ivd", 2, 1.0, "L4 is not above the disc"),
        ("ivd", "l5", 2, 1.0, "the disc is not above L5"),
        ("dura", "ivd", 1, 1.0, "the dural sac is not behind the disc"),
        ("aa", "ivd", 1, -1.0, "the artery is not in front of the disc"),
        ("ivc", "ivd", 1, -1.0, "the vein is not in front of the disc"),
    )
    findings = []
    for name, other, axis, sign, text in rules:
        if (
            name in centres
            and other in centres
            and sign * (centres[name][axis] - centres[other][axis]) <= 0
        ):
            findings.append(
                Finding(
                    "orientation_unexpected",
                    f"{text}: orientation or anatomy unexpected",
                    "refusal",
                    name,
                )
            )
    if "aa" in centres and "ivc" in centres and centres["aa"][0] <= centres["ivc"][0]:
        text = "IVC is not to the right of the aorta: orientation error, situs inversus or left-sided IVC"
        vessels: tuple[StructureId, ...] = ("aa", "ivc")
        findings += [Finding("orientation_unexpected", text, "refusal", name) for name in vessels]
    return findings


def cut_structures(labels: Labels) -> frozenset[StructureId]:
    """Return the structures that reach the edge of the image or the window.

    Vessels, muscles, roots and the sac continue above and below every window: their ends do not count.
    """
    array = labels.volume.array
    upright = int(np.argmax(np.abs(labels.volume.directions[2])))
    sideways, ends = np.zeros(array.shape, bool), np.zeros(array.shape, bool)
    for axis in range(3):
        padded = np.pad(labels.analysed_mask, [(int(n == axis),) * 2 for n in range(3)])
        between = np.take(padded, range(2, padded.shape[axis]), axis) & np.take(
            padded, range(padded.shape[axis] - 2), axis
        )
        edge = ends if axis == upright else sideways
        edge |= ~between
    values = {int(v) for v in np.unique(array[sideways])}
    values |= {int(v) for v in np.unique(array[ends])} & {
        BY_ID[n].value for n in COMPLETE_IN_WINDOW
    }
    return frozenset(s.id for s in STRUCTURES if s.value in values)


def _absent(structure: Structure, outside: frozenset[StructureId]) -> Finding:
    if structure.id in outside:
        text = f"{structure.label} lies outside the image"
        return Finding("outside_image", text, "warning", structure.id)
    return Finding("missing", f"{structure.label} was not found", "refusal", structure.id)


def _one_sided(labels: Labels, structure: Structure, level: Level) -> list[Finding]:
    """Name the side of a paired structure on which nothing was found."""
    x = labels.volume.to_patient(labels.volume.where(structure.value))[:, 0]
    is_left = x > level.centre_lps[0]
    sides = (("left", is_left.any()), ("right", (~is_left).any()))
    return [
        Finding("side_missing", f"{structure.label}, {side} was not found", "warning", structure.id)
        for side, present in sides
        if not present
    ]


def _present(
    labels: Labels, structure: Structure, level: Level, *, in_view: bool, is_cut: bool
) -> list[Finding]:
    findings = _one_sided(labels, structure, level) if structure.paired and in_view else []
    if is_cut:
        text = f"{structure.label} is cut by the edge of the image or the window: its volume is incomplete"
        findings.append(Finding("cut_by_image", text, "warning", structure.id))
    voxels = np.count_nonzero(labels.volume.array == structure.value)
    volume = float(voxels) * labels.volume.voxel_ml
    low, high = VOLUME_ML[structure.id]
    if in_view and (volume > high or (volume < low and not is_cut)):
        text = f"{structure.label} has {volume:.1f} ml, expected are {low:g} to {high:g} ml"
        findings.append(Finding("volume_unexpected", text, "warning", structure.id))
    return findings


def plausibility_findings(
    labels: Labels, level: Level, outside: frozenset[StructureId]
) -> tuple[Finding, ...]:
    """Return all findings about the labels of one volume.

    outside: of `outside_view`.
    """
    centres: dict[StructureId, Points] = {}
    findings: list[Finding] = []
    cut_off = cut_structures(labels)
    for structure in STRUCTURES:
        name = structure.id
        centre = _centre(labels, name)
        if centre is None:
            findings.append(_absent(structure, outside))
            continue
        centres[name] = centre
        in_view, is_cut = name not in outside, name in cut_off
        findings += _present(labels, structure, level, in_view=in_view, is_cut=is_cut)
    findings += [Finding("level", text, "warning") for text in level.warnings]
    return (*findings, *_order(centres))
