"""The SOP classes that validators and checks distinguish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dicomseg.implementation import LABEL_MAP_STORAGE

SEGMENTATIONS: Final = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", LABEL_MAP_STORAGE})
REPORTS: Final = frozenset({f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (11, 22, 33, 34)})
"""Basic Text, Enhanced, Comprehensive and Comprehensive 3D SR."""
MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
IMAGES: Final = frozenset({MR_IMAGE, SECONDARY_CAPTURE})
PDF: Final = frozenset({"1.2.840.10008.5.1.4.1.1.104.1"})
STL: Final = frozenset({"1.2.840.10008.5.1.4.1.1.104.3"})

Applies = Callable[[str], bool]


def every(_: str) -> bool:
    """Apply to any object."""
    return True
