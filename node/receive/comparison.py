"""What another object of a known SOP Instance UID is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Comparison:
    """What another object of a known SOP Instance UID is.

    same: its elements and decoded pixels are equal, whatever the transfer syntax. corrected: the pixels
    and all that describes them are equal, the identity or another description is not. other: neither, or
    it cannot be compared; `reason` names the known series where that is the difference.
    """

    value: Literal["same", "corrected", "other"]
    reason: str = ""


OTHER: Final = Comparison("other")
