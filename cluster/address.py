"""Addresses of a cluster: whoever reaches one runs programs there, so beyond loopback it is TLS."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

ENCRYPTED: Final = "tls"
OPEN: Final = "tcp"
"""Protocols of an address; the second one is for this machine only."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(value: str) -> str:
    """Return an address of the cluster if it can be used. Raises ValueError."""
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in {ENCRYPTED, OPEN} or not parts.hostname or port is None:
        raise ValueError(f'"{value}" is not an address; write e.g. "tls://10.1.2.3:8786"')
    if parts.scheme == OPEN and not is_loopback(parts.hostname):
        raise ValueError(
            f'"{value}" is open to everyone who reaches it, and runs what they send; write tls://'
        )
    return value


def is_encrypted(address: str) -> bool:
    """Return whether an address is reached by TLS, which needs certificates."""
    return address.startswith(f"{ENCRYPTED}:")
