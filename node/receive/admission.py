"""Who may associate, and when the disk is too full: pure decisions."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.commitment import PUSH_MODEL
from node.config.receive import CallerConfig, ReceiveConfig
from node.receive import wire
from node.receive.port import Verdict
from node.receive.wire import TRANSFER_SYNTAXES, Proposed, Request, Roles

MB: Final = 1_000_000
UNKNOWN_ADDRESS: Final = "its address is in no [[receive.caller]]"
VERIFICATION: Final = "1.2.840.10008.1.1"
_NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Transfer syntaxes of storage commitment, whose data sets are small."""
_ACCEPTED, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0, 3, 4
"""Results of a presentation context (PS3.8 table 9-18)."""


def address_known(address: str, callers: Sequence[CallerConfig]) -> bool:
    """Return whether an address is one of a caller; without callers, every peer may connect."""
    return not callers or any(_in_networks(address, c.addresses) for c in callers)


def caller_refusal(
    callers: Sequence[CallerConfig], address: str, calling: str, certificate: Collection[str]
) -> str:
    """Return why a peer is none of the callers, "" when it is one, or when none are configured.

    Address, AE title and certificate must be those of the same caller. certificate: its names, lower case.
    """
    here = [c for c in callers if _in_networks(address, c.addresses)]
    if callers and not here:
        return UNKNOWN_ADDRESS
    titled = [c for c in here if c.ae_title in {"", calling.strip()}]
    if callers and not titled:
        return f"calling AE title {calling!r} with this address is in no [[receive.caller]]"
    if callers and not any(c.certificate.lower() in {"", *certificate} for c in titled):
        names = " or ".join(f'"{c.name}"' for c in titled)
        return f"certificate of {sorted(certificate)} is not that of [[receive.caller]] {names}"
    return ""


def refusal(
    config: ReceiveConfig, own: str, address: str, certificate: Collection[str], request: Request
) -> Verdict | None:
    """Return the rejection of a request by who asks and how, None if there is none. own: the node's AE title."""
    if not called_allowed(request.called, own, config.called_ae_titles):
        reason = f"called AE title {request.called!r} is not ours"
        return Verdict({}, wire.CALLED_UNKNOWN, reason)
    if reason := caller_refusal(config.caller, address, request.calling, certificate):
        return Verdict({}, wire.CALLING_UNKNOWN, reason)
    if not request.version & 1:
        return Verdict({}, wire.NO_PROTOCOL_VERSION, "protocol version 1 is not offered")
    if request.application_context != wire.APPLICATION_CONTEXT:
        return Verdict({}, wire.NO_APPLICATION_CONTEXT, "not the DICOM application context")
    return None


def is_open(config: ReceiveConfig, host: str) -> bool:
    """Return whether any peer that reaches the port may send: no caller, no certificate, not loopback."""
    if config.caller or config.tls == "mutual":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _in_networks(address: str, networks: Sequence[str]) -> bool:
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return any((mapped or peer) in ipaddress.ip_network(n, strict=False) for n in networks)


def called_allowed(called: str, own: str, others: Sequence[str]) -> bool:
    """Return whether the called AE title is one of ours; ours alone when none are configured."""
    return called.strip() in (tuple(others) or (own,))


def is_storage(sop_class: str) -> bool:
    """Return whether a class may be stored: every storage class, private ones, and those newer than the dictionary.

    A sender stops at the first object whose class is not accepted, so the images behind a private
    report would not come. What the node cannot use it keeps.
    """
    known = UID(sop_class)
    if not known.type:
        return bool(sop_class)
    return known.type == "SOP Class" and "Storage" in known.name and "Commitment" not in known.name


def answers(request: Request) -> dict[int, tuple[int, str]]:
    """Return the result and transfer syntax for each proposed presentation context, in our order of preference."""
    return {proposed.id: _answer(proposed) for proposed in request.contexts}


def _answer(proposed: Proposed) -> tuple[int, str]:
    offered = proposed.transfer_syntaxes
    preferred = offered[0] if offered else ""
    verification = proposed.abstract_syntax == VERIFICATION
    if proposed.abstract_syntax == PUSH_MODEL:
        native = next((s for s in _NATIVE if s in offered), "")
        return (_ACCEPTED, native) if native else (_NO_TRANSFER_SYNTAX, preferred)
    if not verification and not is_storage(proposed.abstract_syntax):
        return _NO_ABSTRACT_SYNTAX, preferred
    for syntax in TRANSFER_SYNTAXES:
        if syntax in offered:
            return _ACCEPTED, syntax
    # One that is not known is stored as it is, and what cannot be decoded is named later.
    foreign = next((s for s in offered if _is_foreign(s)), "")
    return (_ACCEPTED, foreign) if foreign else (_NO_TRANSFER_SYNTAX, preferred)


def _is_foreign(syntax: str) -> bool:
    known = UID(syntax)
    return known.is_valid and known.type in {"", "Transfer Syntax"}


def roles(request: Request) -> Mapping[str, Roles]:
    """Return the roles that are accepted, by SOP class: of storage commitment those that are proposed.

    As SCU a peer asks for commitment, as SCP it reports on what we asked (PS3.4 J.3.3).
    """
    return {uid: proposed for uid, proposed in request.roles.items() if uid == PUSH_MODEL}


def stores_nothing(request: Request) -> bool:
    """Return whether a peer wants nothing but C-ECHO and storage commitment."""
    return bool(request.contexts) and all(
        c.abstract_syntax in {VERIFICATION, PUSH_MODEL} for c in request.contexts
    )


@dataclass(frozen=True, slots=True)
class DiskGate:
    """Closed below the low mark, open again from the high mark, so that it does not flutter."""

    low_bytes: int
    high_bytes: int
    closed: bool = False

    @property
    def refusal(self) -> str:
        """Why nothing is taken, "" while it is open."""
        low_mb = self.low_bytes // MB
        return f"less than {low_mb} MB free on the disk of [node] state" if self.closed else ""

    def seen(self, free_bytes: int) -> DiskGate:
        """Return the gate after a look at the free space."""
        if free_bytes < self.low_bytes:
            return replace(self, closed=True)
        return replace(self, closed=False) if free_bytes >= self.high_bytes else self
