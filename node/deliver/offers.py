"""What a destination will be sent, object by object, and what its peer says to that; nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicomseg.implementation import LABEL_MAP_STORAGE
from node.config.destinations import DestinationConfig
from node.config.profiles import ObjectFile, Profile

NOTE: Final = "rejection.dcm"
SOP_CLASSES: Final[Mapping[ObjectFile, str]] = MappingProxyType(
    {
        "seg.dcm": SegmentationStorage,
        "midplane.dcm": MRImageStorage,
        "measurements.dcm": Comprehensive3DSRStorage,
        "volumes.dcm": Comprehensive3DSRStorage,
        "summary.dcm": SecondaryCaptureImageStorage,
        "report.dcm": EncapsulatedPDFStorage,
        "surface.dcm": EncapsulatedSTLStorage,
    }
)
"""What each file of a result is, so that a peer can be asked beforehand whether it takes it."""

WITH_PIXELS: Final[frozenset[str]] = frozenset({"seg.dcm", "midplane.dcm", "summary.dcm"})
"""Files whose pixels can be compressed."""
NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Transfer syntaxes without compression, the preferred one first."""

_NAMES: Final = MappingProxyType({LABEL_MAP_STORAGE: "Label Map Segmentation Storage"})
"""Classes that pydicom's dictionary does not have yet."""
_SYNTAXES: Final = MappingProxyType(
    {
        str(ExplicitVRLittleEndian): "explicit",
        str(ImplicitVRLittleEndian): "implicit",
        str(RLELossless): "RLE",
    }
)


@dataclass(frozen=True, slots=True)
class Offer:
    """One object as it will be sent. file: its name in the result folder; syntaxes: the preferred first."""

    file: str
    sop_class: str
    syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the peer says to an offer; unknown: it cannot be asked without an object. syntax: the one it takes."""

    offer: Offer
    value: Literal["accepted", "refused", "unknown"]
    syntax: str = ""

    @property
    def remedy(self) -> str:
        """What to do about a refusal, "" where there is none."""
        return remedy(self.offer.sop_class) if self.value == "refused" else ""


@dataclass(frozen=True, slots=True)
class EchoAnswer:
    """Answer of a peer: who responds, for people, and what it says to every offer."""

    text: str
    objects: tuple[Acceptance, ...] = ()


def offers_for(config: DestinationConfig) -> tuple[Offer, ...]:
    """Return what this destination will be sent: the objects of its profile, and rejection notes."""
    offers = [_offer(file, config.sends) for file in config.sends.objects]
    note = Offer(NOTE, KeyObjectSelectionDocumentStorage, tuple(NATIVE))
    return (*offers, *([note] if config.withdraw else []))


def _offer(file: ObjectFile, profile: Profile) -> Offer:
    is_label_map = file == "seg.dcm" and profile.seg_form == "labelmap"
    bits = file == "seg.dcm" and profile.seg_form == "binary"
    compressed = profile.compress == "rle" and file in WITH_PIXELS and not bits
    syntaxes = (RLELossless, *NATIVE) if compressed else NATIVE
    sop_class = LABEL_MAP_STORAGE if is_label_map else SOP_CLASSES[file]
    return Offer(file, str(sop_class), tuple(str(s) for s in syntaxes))


def class_title(sop_class: str) -> str:
    """Return the name of a SOP class, its UID where it has none."""
    return _NAMES.get(sop_class) or str(UID(sop_class).name)


def class_name(sop_class: str) -> str:
    """Return name and UID of a SOP class, the UID alone where it has no name."""
    title = class_title(sop_class)
    return sop_class if title == sop_class else f"{title} ({sop_class})"


def syntax_title(syntax: str) -> str:
    """Return a short name of a transfer syntax: explicit, implicit, RLE."""
    return _SYNTAXES.get(syntax, str(UID(syntax).name))


def remedy(sop_class: str) -> str:
    """Return what to do where a peer does not accept a SOP class."""
    enable = f"enable {class_title(sop_class)} on the PACS"
    if sop_class == LABEL_MAP_STORAGE:
        return f'{enable} (Orthanc: UnknownSopClassAccepted), or set seg_form = "default"'
    if sop_class == KeyObjectSelectionDocumentStorage:
        return f"{enable}, or set withdraw = false"
    if sop_class in {SegmentationStorage, Comprehensive3DSRStorage}:
        return f'{enable}, or choose profile = "images-only"'
    files = [file for file, of in SOP_CLASSES.items() if of == sop_class]
    return f"{enable}, or leave {' and '.join(files) or 'it'} out of objects"


def all_unknown(offers: Sequence[Offer]) -> tuple[Acceptance, ...]:
    """Return that the peer cannot be asked beforehand."""
    return tuple(Acceptance(offer, "unknown") for offer in offers)


def all_accepted(offers: Sequence[Offer]) -> tuple[Acceptance, ...]:
    """Return that every object will be taken in the preferred transfer syntax."""
    return tuple(Acceptance(offer, "accepted", offer.syntaxes[0]) for offer in offers)
