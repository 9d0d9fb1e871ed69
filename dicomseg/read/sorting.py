"""Distinguish the slices of one series: by what makes them another volume, and where positions repeat, by acquisition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dicomseg.read.contrast import read_contrast
from dicomseg.read.geometry_problem import GeometryProblem, Slice
from dicomseg.read.lattice import DOUBLED_MM, Lattice, fit_lattice, mean_directions
from dicomseg.volume import Points

SAME_DIRECTION: Final = 0.01
"""Direction cosines that differ by more belong to another stack (0.6°); what noise within one stack
means is judged in mm by `dicomseg.read.lattice`."""

SAME_SPACING: Final = 2e-3
"""Relative difference of pixel spacing: 0.6 mm over 320 pixels of 0.9 mm is another reconstruction."""

SAME_ECHO_MS: Final = 0.5
"""Echo times that differ by more belong to two echoes."""

DENSE: Final = 1.5
"""Largest spacing in slice thicknesses of an acquisition that covers its volume by itself: every second
slice of an interleaved one is farther from the next."""

Labels = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to be another volume: code and words for messages, the label of every slice.

    place: whether slices of another label lie elsewhere in the patient.
    """

    code: str
    what: str
    labels: Callable[[Sequence[Slice]], Labels]
    shown: Callable[[Slice], str]
    place: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Slices that agree in every criterion; labels: one per criterion."""

    slices: tuple[Slice, ...]
    labels: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RegularVolume:
    """One regular volume of a part. copies: slices left out because they repeat another's pixels.

    by: what distinguishes it from its repetitions, "" where there are none.
    """

    lattice: Lattice
    part: Part
    copies: tuple[Slice, ...] = ()
    by: str = ""


def _clusters(values: Points, tolerance: Points | float) -> Labels:
    """Label vectors (n, d): each belongs to the first one that it is near to."""
    labels = np.full(len(values), -1)
    while (left := np.flatnonzero(labels < 0)).size:
        seed = values[left[0]]
        near = np.all(np.abs(values[left] - seed) <= tolerance, axis=1)
        labels[left[near]] = left[0]
    return [int(n) for n in labels]


def _by_direction(slices: Sequence[Slice]) -> Labels:
    return _clusters(np.array([(*s.row, *s.column) for s in slices]), SAME_DIRECTION)


def _by_spacing(slices: Sequence[Slice]) -> Labels:
    spacing = np.array([s.spacing for s in slices])
    return _clusters(spacing, SAME_SPACING * np.median(spacing, axis=0))


def _by_echo(slices: Sequence[Slice]) -> Labels:
    """An unknown echo time counts as the commonest one."""
    known = sorted({s.echo_time_ms for s in slices if s.echo_time_ms is not None})
    label, labels = 0, {}
    for n, time in enumerate(known):
        label += n > 0 and time - known[n - 1] > SAME_ECHO_MS
        labels[time] = label
    counts = Counter(labels[s.echo_time_ms] for s in slices if s.echo_time_ms is not None)
    common = counts.most_common(1)[0][0] if counts else 0
    return [common if s.echo_time_ms is None else labels[s.echo_time_ms] for s in slices]


def _by_frame_of_reference(slices: Sequence[Slice]) -> Labels:
    """An absent one counts as the commonest."""
    uids = [s.instance.frame_of_reference_uid for s in slices]
    counts = Counter(uid for uid in uids if uid)
    common = counts.most_common(1)[0][0] if counts else ""
    return [uid or common for uid in uids]


def _each(value: Callable[[Slice], Hashable]) -> Callable[[Sequence[Slice]], Labels]:
    return lambda slices: [value(s) for s in slices]


CRITERIA: Final[tuple[Criterion, ...]] = (
    Criterion(
        "several-volumes",
        "multi-frame object",
        _each(lambda s: s.instance.sop_instance_uid if s.frame is not None else ""),
        lambda s: f"{s.instance.frames} frames",
        place=False,
    ),
    Criterion(
        "mixed-frames-of-reference",
        "frame of reference",
        _by_frame_of_reference,
        lambda s: s.instance.frame_of_reference_uid,
    ),
    Criterion(
        "mixed-sizes",
        "rows × columns",
        _each(lambda s: (s.instance.rows, s.instance.columns)),
        lambda s: f"{s.instance.rows} × {s.instance.columns}",
    ),
    Criterion(
        "mixed-orientations",
        "image orientation",
        _by_direction,
        lambda s: "\\".join(f"{v:.4g}" for v in (*s.row, *s.column)),
    ),
    Criterion(
        "mixed-spacing",
        "pixel spacing",
        _by_spacing,
        lambda s: f"{s.spacing[0]:g} × {s.spacing[1]:g} mm",
    ),
    Criterion(
        "mixed-contrasts",
        "contrast",
        _each(lambda s: read_contrast(s.image_type, s.instance.complex_component)),
        lambda s: read_contrast(s.image_type, s.instance.complex_component).name,
        place=False,
    ),
    Criterion(
        "two-echoes",
        "echo time",
        _by_echo,
        lambda s: "no echo time" if s.echo_time_ms is None else f"TE {s.echo_time_ms:g} ms",
        place=False,
    ),
)
"""What makes slices another volume, wherever they lie."""

FEATURES: Final[tuple[tuple[str, Callable[[Slice], Any]], ...]] = (
    ("stack", lambda s: s.stack),
    ("temporal position", lambda s: s.temporal_position),
    ("acquisition number", lambda s: s.acquisition_number),
    ("echo number", lambda s: s.instance.echo_number),
    ("image type", lambda s: s.image_type),
    ("acquisition time", lambda s: (s.instance.acquisition_date, s.instance.acquisition_time)),
)
"""What distinguishes repetitions of one volume. Asked only where slices repeat a position: many scanners
number the slices of one volume as several acquisitions."""


def partition(slices: Sequence[Slice]) -> list[Part]:
    """Partition by all criteria, the largest part first."""
    columns = [c.labels(slices) for c in CRITERIA]
    held: dict[tuple[Hashable, ...], list[Slice]] = {}
    for one, *labels in zip(slices, *columns, strict=True):
        held.setdefault(tuple(labels), []).append(one)
    parts = [Part(tuple(members), labels) for labels, members in held.items()]
    return sorted(parts, key=lambda part: -len(part.slices))


def first_difference(part: Part, other: Part) -> Criterion | None:
    """Return the first criterion in which two parts differ."""
    pairs = zip(CRITERIA, part.labels, other.labels, strict=True)
    return next((c for c, a, b in pairs if a != b), None)


def lie_elsewhere(part: Part, other: Part) -> bool:
    """Whether the slices of two parts lie in different planes or frames of reference."""
    pairs = zip(CRITERIA, part.labels, other.labels, strict=True)
    return any(c.place and a != b for c, a, b in pairs)


def find_volumes(
    part: Part, features: Sequence[tuple[str, Callable[[Slice], Any]]] = FEATURES
) -> list[RegularVolume] | GeometryProblem:
    """Find the regular volumes of one part: one, or its repetitions; else what prevents it."""
    shape = part.slices[0].instance.rows or 0, part.slices[0].instance.columns or 0
    fitted = fit_lattice(part.slices, shape)
    if isinstance(fitted, Lattice):
        return [RegularVolume(fitted, part)]
    kept, copies = _without_copies(part.slices)
    once = fit_lattice(kept, shape) if copies else fitted
    if isinstance(once, Lattice):
        return [RegularVolume(once, part, copies)]
    for n, (name, value) in enumerate(features):
        repeated = [
            f
            for members in _split(part.slices, value)
            for f in _volumes_or_none(find_volumes(Part(members, part.labels), features[n + 1 :]))
        ]
        complete = [f for f in repeated if _is_complete(f, part, name, fitted)]
        if complete:
            return [RegularVolume(f.lattice, part, f.copies, f.by or name) for f in complete]
    return fitted


def _volumes_or_none(answer: list[RegularVolume] | GeometryProblem) -> list[RegularVolume]:
    return [] if isinstance(answer, GeometryProblem) else answer


def _split(slices: Sequence[Slice], value: Callable[[Slice], Hashable]) -> list[tuple[Slice, ...]]:
    """Slices by one feature; nothing where they all agree."""
    held: dict[Hashable, list[Slice]] = {}
    for one in slices:
        held.setdefault(value(one), []).append(one)
    return [tuple(members) for members in held.values()] if len(held) > 1 else []


def _is_complete(volume: RegularVolume, part: Part, name: str, flaw: GeometryProblem) -> bool:
    """Whether a repetition is a volume of its own, and no slice of it hides in another."""
    lattice = volume.lattice
    if name == "stack":  # by definition (PS3.3 C.7.6.16.2.2.4)
        return True
    if flaw.code == "doubled-positions":
        return len(lattice.slices) == len(_by_position(part.slices))
    thickness = lattice.slices[0].instance.slice_thickness_mm
    spacing = float(np.linalg.norm(lattice.step))
    return thickness is not None and len(lattice.slices) > 1 and spacing <= DENSE * thickness


def _by_position(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices by position, along the normal."""
    normal = mean_directions(slices)[:, 0]
    along = np.array([s.position for s in slices]) @ normal
    order = np.argsort(along, kind="stable")
    places: list[list[Slice]] = []
    for n, m in enumerate(order):
        if n and along[m] - along[order[n - 1]] < DOUBLED_MM:
            places[-1].append(slices[m])
        else:
            places.append([slices[m]])
    return places


def _without_copies(slices: Sequence[Slice]) -> tuple[tuple[Slice, ...], tuple[Slice, ...]]:
    """Slices without those that repeat another's pixels at its position, and the copies.

    The one of the commonest acquisition is kept.
    """
    counts = Counter(s.instance.acquisition_number for s in slices)
    kept: list[Slice] = []
    copies: list[Slice] = []
    for group in _by_position(slices):
        digests: set[str] = set()
        for one in sorted(group, key=lambda s: -counts[s.instance.acquisition_number]):
            digest = one.instance.pixel_digest if one.frame is None else ""
            (copies if digest and digest in digests else kept).append(one)
            digests.add(digest)
    return tuple(kept), tuple(copies)
