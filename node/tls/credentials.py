"""The contexts in use, made again when their files change: a certificate is renewed without a restart."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final, Literal

from node.config.sections import Config
from node.config.tls import TlsConfig
from node.errors import ConfigError
from node.events import CertificateEnds, CertificatesRefused, CertificatesRenewed, Log, noop_log
from node.tls.contexts import client_context, server_context
from node.tls.expiry import ending_soon
from node.tls.files import Signature, signature

LOOK_S: Final = 5.0
"""Seconds between two looks at the files."""
REMIND_S: Final = 86_400.0
"""Seconds between two lines about a certificate that ends soon."""

Role = Literal["mutual", "server", "dicom", "https", "syslog"]
"""What a context is for: incoming connections with and without a peer's certificate, destinations, a collector."""

_MAKERS: Final[Mapping[Role, Callable[[TlsConfig], ssl.SSLContext]]] = MappingProxyType(
    {
        "mutual": partial(server_context, mutual=True),
        "server": partial(server_context, mutual=False),
        "dicom": client_context,
        "syslog": client_context,
        "https": client_context,  # of its own: HTTP adds its application protocol to it
    }
)


def roles(config: Config) -> tuple[Role, ...]:
    """Return the contexts that a configuration needs."""
    needed: list[Role] = []
    if config.receive.tls != "off":
        needed.append(config.receive.tls)
    if (config.metrics.port and config.metrics.tls) or (config.web.port and config.web.tls):
        needed.append("server")
    for destination in config.destinations:
        if destination.kind == "dicom" and destination.tls:
            needed.append("dicom")
        elif destination.kind == "dicomweb" and config.tls.trusted and destination.is_https:
            needed.append("https")
    for source in config.pull.source:
        if source.kind != "dicomweb" and source.tls:
            needed.append("dicom")
        elif source.kind == "dicomweb" and config.tls.trusted and source.is_https:
            needed.append("https")
    if config.audit.by_tls:
        needed.append("syslog")
    return tuple(dict.fromkeys(needed))


@dataclass(slots=True)
class Credentials:
    """Contexts by role, and the state of the files that they were made from. A step of the service."""

    config: TlsConfig
    log: Log = noop_log
    wall: Callable[[], float] = time.time
    now: Callable[[], float] = time.monotonic
    _contexts: dict[Role, ssl.SSLContext] = field(default_factory=dict)
    _signature: Signature = ()
    _look_at: float = 0.0
    _remind_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, needed: Iterable[Role]) -> None:
        """Make the contexts before anything is received or sent. Raises `TlsError`."""
        for role in needed:
            self.context(role)

    def context(self, role: Role) -> ssl.SSLContext:
        """Return the context in use, made at its first use. Raises `TlsError`."""
        with self._lock:
            if role not in self._contexts:
                self._signature = self._signature or signature(self.config)
                self._contexts[role] = _MAKERS[role](self.config)
            return self._contexts[role]

    def run_once(self) -> int:
        """Look at the files now and then; returns 1 when contexts were renewed."""
        now = self.now()
        if not self._contexts or now < self._look_at:
            return 0
        self._look_at = now + LOOK_S
        if now >= self._remind_at:
            self._remind(now)
        return int(signature(self.config) != self._signature and self.reread())

    def reread(self) -> bool:
        """Make all contexts again from the files; a fault keeps the old ones and is logged.

        Connections that are open keep what they have.
        """
        if not self._contexts:
            return False
        found = signature(self.config)
        try:
            renewed = {role: _MAKERS[role](self.config) for role in self._contexts}
        except ConfigError as error:
            self._signature = found
            self.log(CertificatesRefused(str(error)))
            return False
        with self._lock:
            self._contexts.update(renewed)
            self._signature = found
        self.log(CertificatesRenewed(tuple(renewed)))
        self._remind(self.now())
        return True

    def _remind(self, now: float) -> None:
        self._remind_at = now + REMIND_S
        wall = self.wall()
        for ending in ending_soon(self.config, wall):
            self.log(CertificateEnds(str(ending.path), ending.days(wall)))
