"""Who may associate, and when the disk is too full: pure decisions."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

MB: Final = 1_000_000


def peer_allowed(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks; without any everybody may connect."""
    if not networks:
        return True
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return any((mapped or peer) in ipaddress.ip_network(n, strict=False) for n in networks)


def called_allowed(called: str, own: str, others: Sequence[str]) -> bool:
    """Whether the called AE title is one of ours; ours alone when none are configured."""
    return called.strip() in (tuple(others) or (own,))


def calling_allowed(calling: str, allowed: Sequence[str]) -> bool:
    """Whether the calling AE title may send; everybody when none are configured."""
    return not allowed or calling.strip() in allowed


@dataclass(frozen=True, slots=True)
class DiskGate:
    """Closed below the low mark, open again from the high mark, so that it does not flutter."""

    low_bytes: int
    high_bytes: int
    closed: bool = False

    def seen(self, free_bytes: int) -> DiskGate:
        """Return the gate after a look at the free space."""
        if free_bytes < self.low_bytes:
            return replace(self, closed=True)
        return replace(self, closed=False) if free_bytes >= self.high_bytes else self
