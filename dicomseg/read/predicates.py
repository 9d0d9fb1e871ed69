"""Named three-valued predicates over one header: what selection rules are made of.

None refuses by the series description: it is free text, and often wrong. `is_lumbar` lets it outweigh
a body part that says another region.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from dicomseg.read.contrast import read_contrast
from dicomseg.read.instance import Instance
from dicomseg.read.region import read_region


@dataclass(frozen=True, slots=True)
class PredicateResult:
    """A three-valued answer and the attributes it rests on."""

    value: Literal["yes", "no", "unknown"]
    reason: str


MR_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
_SPACE_NAME: Final = re.compile(r"[*_]?spc")
"""Siemens' pulse sequence name of SPACE, e.g. ``*spcR_60``; converters write ``_`` for ``*``."""

_DIMENSION: Final = re.compile(r"([23])d\d")
"""Siemens' pulse sequence names carry the dimension: ``*tse2d1_17``, ``*fl3d1_ns``."""

T2_ECHO_TIME_MS: Final = 60.0
"""Shortest echo time of a T2-weighted image: 942 recorded spine headers are parted by it without a
false positive. The repetition time parts nothing: SPACE with TR 1000 ms is common."""

MYELOGRAPHY_ECHO_TIME_MS: Final = 400.0
"""Above it only fluid is left (MR myelography, MRCP): muscle and bone are not shown."""

SPACE_ECHO_TRAIN: Final = 20
"""Shortest echo train taken for SPACE, CUBE or VISTA; the recorded ones have 56 to 93 echoes."""

_COMPUTED: Final = frozenset(
    {
        "SECONDARY", "PROJECTION IMAGE", "MIP", "MINIP", "MNIP", "MAX_IP", "MIN_IP", "SUBTRACTION", "SUB",
        "ADC", "FA", "TRACEW", "T2 MAP", "T2_MAP", "MEAN", "STDDEV", "CSA 3D EDITOR", "VOLREND",
        "MAP", "T1 MAP", "T1_MAP", "R2 MAP", "R2_MAP", "T2_STAR MAP", "T2_STAR_MAP", "R2_STAR MAP", "R2_STAR_MAP", "B0 MAP",
        "FAT_FRACTION", "FATFRACTION", "WATER_FRACTION", "FF", "WF",
    }
)  # fmt: skip
"""Image Type of pictures that are not a stack of acquired slices."""

_REFORMATTED: Final = frozenset({"MPR", "CSA MPR", "REFORMATTED", "RESAMPLED", "CPR"})
"""Image Type of slices reformatted from an acquired volume."""

_COMPOSED: Final = "COMPOSED"
"""Several acquired stations joined: of a complete spine often the only series there is."""


def is_mr(instance: Instance) -> PredicateResult:
    """MR Image, Enhanced MR or Legacy Converted Enhanced MR by SOP class."""
    name = MR_CLASSES.get(instance.sop_class_uid)
    if name is None:
        return PredicateResult("no", f"SOP class {instance.sop_class_uid} is not an MR image")
    return PredicateResult("yes", name)


def has_pixels(instance: Instance) -> PredicateResult:
    """The object holds pixels of a known size."""
    if instance.has_pixels and instance.rows and instance.columns:
        return PredicateResult("yes", f"{instance.rows} × {instance.columns} pixels")
    return PredicateResult("no", "no Pixel Data, or Rows/Columns missing")


def is_original(instance: Instance) -> PredicateResult:
    """Acquired, not reformatted, projected or otherwise computed, by Image Type (PS3.3 C.8.3.1.1.1).

    GE writes DERIVED\\PRIMARY for what a filter on the scanner has touched (CUBE with PURE): where the
    parameters of a 3D acquisition are all there, it is the acquisition.
    """
    kind = set(instance.image_type)
    stated = f"Image Type {chr(92).join(instance.image_type)}"
    if read_contrast(instance.image_type, instance.complex_component).component:
        return PredicateResult("no", f"{stated}, not a magnitude image")
    if kind & _COMPUTED or (kind & _REFORMATTED and _COMPOSED not in kind):
        return PredicateResult("no", stated)
    if "DERIVED" not in kind and kind.isdisjoint(_REFORMATTED):
        if "ORIGINAL" in kind:
            return PredicateResult("yes", stated)
        return PredicateResult(
            "unknown", "Image Type (0008,0008) value 1 is neither ORIGINAL nor DERIVED"
        )
    if "PRIMARY" not in kind:
        return PredicateResult("no", stated)
    if _COMPOSED not in kind and _is_acquired_volume(instance):
        return PredicateResult("yes", f"{stated} of an acquired 3D volume")
    return PredicateResult(
        "unknown", f"{stated}; a rule with is_original_or_reconstructed accepts it"
    )


def is_original_or_reconstructed(instance: Instance) -> PredicateResult:
    """Like `is_original`, and what the scanner filtered or composed of acquired stations as well."""
    answer = is_original(instance)
    primary = not {"DERIVED", _COMPOSED}.isdisjoint(instance.image_type)
    if answer.value == "unknown" and primary:
        return PredicateResult("yes", f"Image Type {chr(92).join(instance.image_type)}")
    return answer


def _is_acquired_volume(instance: Instance) -> bool:
    """Whether the header has what only an acquisition in 3D has: a sequence, its dimension and its times."""
    return (
        is_3d(instance).value == "yes"
        and bool(instance.scanning_sequence)
        and instance.echo_time_ms is not None
        and instance.repetition_time_ms is not None
    )


def not_our_result(instance: Instance) -> PredicateResult:
    """Not one of the objects this program makes: those are derived, or not MR images."""
    if is_mr(instance).value == "no":
        return PredicateResult("no", "not an MR image")
    original = is_original(instance)
    if original.value == "yes":
        return PredicateResult("yes", "an original MR image; results are derived")
    return PredicateResult("unknown", original.reason)


def is_3d(instance: Instance) -> PredicateResult:
    """Acquired as a volume, by MR Acquisition Type, else by the pulse sequence name."""
    if instance.acquisition_type in {"3D", "2D"}:
        answer: Literal["yes", "no"] = "yes" if instance.acquisition_type == "3D" else "no"
        return PredicateResult(answer, f"MR Acquisition Type {instance.acquisition_type}")
    name = instance.sequence_name
    dimension = _DIMENSION.search(name)
    if _SPACE_NAME.match(name) or (dimension and dimension[1] == "3"):
        return PredicateResult("yes", f"pulse sequence {name} is 3D")
    if dimension:
        return PredicateResult("no", f"pulse sequence {name} is 2D")
    return PredicateResult("unknown", "MR Acquisition Type is absent")


def _spin_echo(instance: Instance) -> PredicateResult:
    terms = set(instance.scanning_sequence)
    if terms & {"GR", "EP"}:
        return PredicateResult(
            "no", f"Scanning Sequence {'+'.join(sorted(terms))} is not a pure spin echo"
        )
    if "SE" in terms:
        return PredicateResult("yes", "spin echo")
    if _SPACE_NAME.match(instance.sequence_name):
        return PredicateResult("yes", f"pulse sequence {instance.sequence_name} is a spin echo")
    return PredicateResult("unknown", "Scanning Sequence is absent")


def _no_inversion(instance: Instance) -> PredicateResult:
    if (instance.inversion_time_ms or 0.0) > 0:
        return PredicateResult("no", f"inversion recovery, TI {instance.inversion_time_ms:g} ms")
    options = {*instance.scanning_sequence, *instance.scan_options}
    if "IR" in options or any(o.startswith("IR_") for o in options):
        return PredicateResult("no", "inversion recovery by Scanning Sequence or Scan Options")
    if re.match(r"[*_]?(spcir|tir)", instance.sequence_name):
        return PredicateResult(
            "no", f"pulse sequence {instance.sequence_name} has inversion recovery"
        )
    return PredicateResult("yes", "no inversion recovery")


def _t2_echo_time(instance: Instance) -> PredicateResult:
    te = instance.echo_time_ms
    if te is None:
        return PredicateResult("unknown", "Echo Time is absent")
    if te < T2_ECHO_TIME_MS:
        return PredicateResult("no", f"TE {te:g} ms is below {T2_ECHO_TIME_MS:g} ms")
    if te > MYELOGRAPHY_ECHO_TIME_MS:
        return PredicateResult(
            "unknown", f"TE {te:g} ms is above {MYELOGRAPHY_ECHO_TIME_MS:g} ms, as in myelography"
        )
    return PredicateResult("yes", f"TE {te:g} ms")


def _long_echo_train(instance: Instance) -> PredicateResult:
    echoes = instance.echo_train_length
    if echoes is not None and 1 < echoes < SPACE_ECHO_TRAIN:
        return PredicateResult("unknown", f"echo train of {echoes} is short for SPACE")
    return PredicateResult(
        "yes", f"echo train {echoes}" if echoes else "Echo Train Length is absent"
    )


def is_t2_space(instance: Instance) -> PredicateResult:
    """3D T2-weighted spin echo with variable flip angle: SPACE, CUBE, VISTA.

    The series description is not read. An attribute that contradicts it decides; else a missing
    attribute makes the answer unknown.
    """
    checks = (is_3d, _spin_echo, _no_inversion, _t2_echo_time, _long_echo_train)
    answers = [check(instance) for check in checks]
    for value in ("no", "unknown"):
        reasons = [a.reason for a in answers if a.value == value]
        if reasons:
            return PredicateResult(value, "; ".join(reasons))
    return PredicateResult("yes", "; ".join(a.reason for a in answers))


def is_localizer(instance: Instance) -> bool:
    """Scout image, by Image Type."""
    return not {"LOCALIZER", "SCOUT"}.isdisjoint(instance.image_type)


def is_not_localizer(instance: Instance) -> PredicateResult:
    """No scout image, by Image Type; a description that says so leaves it unknown."""
    if is_localizer(instance):
        return PredicateResult("no", f"Image Type {chr(92).join(instance.image_type)}")
    if re.search(r"locali[sz]er|scout", instance.series_description, re.IGNORECASE):
        return PredicateResult("unknown", f"description {instance.series_description!r}")
    return PredicateResult("yes", "Image Type does not name a localizer")


def is_lumbar(instance: Instance) -> PredicateResult:
    """Body Part Examined, else the names of protocol and description, say the lumbar spine."""
    return PredicateResult(*read_region(instance))


def is_lumbar_or_unknown(instance: Instance) -> PredicateResult:
    """Yes unless the header names another region: the image itself decides then."""
    answer = is_lumbar(instance)
    return answer if answer.value == "no" else PredicateResult("yes", answer.reason)


def distortion_rank(instance: Instance) -> int:
    """Return 2 for 3D distortion correction, 1 for 2D, 0 for none: the higher of two duplicate reconstructions is chosen."""
    return 2 if "DIS3D" in instance.image_type else 1 if "DIS2D" in instance.image_type else 0


PREDICATES: Final[Mapping[str, Callable[[Instance], PredicateResult]]] = MappingProxyType(
    {
        predicate.__name__: predicate
        for predicate in (
            is_mr,
            has_pixels,
            is_original,
            is_original_or_reconstructed,
            not_our_result,
            is_3d,
            is_t2_space,
            is_not_localizer,
            is_lumbar,
            is_lumbar_or_unknown,
        )
    }
)
"""Predicates by the name that a selection rule uses."""
