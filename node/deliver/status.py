"""The meaning of C-STORE and STOW-RS status codes, without any network library."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from node.deliver.port import (
    Disposition,
)

SUCCESS: Final = 0x0000


DUPLICATE: Final = 0x0111
"""Duplicate SOP Instance: the peer holds it already, and one UID always has the same content."""


_STORE_STATUS: Final[Mapping[int, Disposition]] = MappingProxyType(
    {SUCCESS: "accepted", DUPLICATE: "accepted", 0x0110: "transient"}
)


def judge_status(status: int) -> Disposition:
    """Return what a C-STORE status means for us (PS3.4 B.2.3, PS3.7 C).

    Warnings (0xBnnn) are successes. 0xA7nn is "out of resources" and passes, as does 0x0110
    (processing failure); everything else says that the object will not be taken.
    """
    if status in _STORE_STATUS:
        return _STORE_STATUS[status]
    if status >> 12 == 0xB:
        return "accepted"
    return "transient" if status >> 8 == 0xA7 else "permanent"
