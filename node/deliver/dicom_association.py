"""Associations that the node asks for: with or without TLS, and in words why there is none."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from node.errors import TlsError
from node.tls.credentials import Credentials
from node.tls.outgoing import Outgoing

_config.LOG_HANDLER_LEVEL = "none"  # it formats every PDU and message for a log that is never read


class NoAssociation(Exception):
    """No association: why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks one peer for associations. Times in seconds. credentials: for TLS; None is a connection without.

    section: of the configuration file that describes the peer.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    timeout_s: float
    credentials: Credentials | None = None
    section: str = "[[node.destination]]"

    @property
    def address(self) -> str:
        """Return the peer as messages name it."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    @contextmanager
    def associated(
        self,
        contexts: Sequence[PresentationContext],
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Sequence[tuple[evt.EventType, Callable[[evt.Event], Any]]] = (),
    ) -> Iterator[Association]:
        """Open one association with these contexts, released at the end. Raises `NoAssociation`."""
        ae = AE(self.calling_ae_title)
        ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION
        for limit in ("acse_timeout", "dimse_timeout", "network_timeout", "connection_timeout"):
            setattr(ae, limit, self.timeout_s)
        opened: list[evt.Event] = []
        tls = self._tls()
        peer = ae.associate(
            self.host,
            self.port,
            contexts=list(contexts),
            ae_title=self.ae_title,
            ext_neg=list(roles),
            tls_args=None if tls is None else (tls, self.host),  # type: ignore[arg-type]
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _no_delay),
                (evt.EVT_CONN_OPEN, opened.append),
                *handlers,
            ],
        )
        try:
            refusal = self._refusal(peer, tls, connected=bool(opened))
            if refusal:
                raise NoAssociation(refusal)
            keep_answers(peer)
            yield peer
        finally:
            if peer.is_established:
                peer.release()
            if tls is not None:
                tls.close()

    def _tls(self) -> Outgoing | None:
        """Return the TLS of a new connection. Raises `NoAssociation`."""
        try:
            return None if self.credentials is None else Outgoing(self.credentials.context("dicom"))
        except TlsError as error:
            raise NoAssociation(str(error)) from error

    def _refusal(self, peer: Association, tls: Outgoing | None, *, connected: bool) -> str:
        """Say why there is no association, "" when there is one."""
        if peer.is_rejected:
            answer = peer.acceptor.primitive
            reason = (
                ""
                if answer is None
                else f": {answer.reason_str[:1].lower()}{answer.reason_str[1:]}"
            )
            return (
                f"{self.address} rejected calling AE title {self.calling_ae_title}{reason}; "
                f"register the node's AE title on the PACS, and check ae_title in {self.section}"
            )
        # No accepted context aborts, too: then there was an answer.
        if peer.is_established or peer.rejected_contexts:
            return ""
        if tls is not None and tls.fault:
            return (
                f"{self.address} and the node agree on no TLS connection: {tls.fault}; "
                "check [tls] and the certificates of both sides"
            )
        if connected:
            kind = "without" if tls is None else "with"
            return (
                f"{self.address} accepts the connection but does not answer the association request; "
                f"check that the port is one of DICOM {kind} TLS, and its log"
            )
        return f"{self.address} does not respond; check that it is running, its host and port"


def keep_answers(peer: Association) -> None:
    """Let nothing but the call that waits for an answer take one from the queue.

    pynetdicom 3.0 pauses the association's own thread, which looks for requests of the peer, before it sends; a thread
    that has passed the pause by then takes the answer and drops it: one query in a hundred on a busy machine found
    nothing, and a C-STORE got no answer. A peer sends no requests here.
    """
    receive = peer.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return receive(block=True) if block else (None, None)

    peer.dimse.get_msg = get_msg  # type: ignore[method-assign]


def tls_version(peer: Association) -> str:
    """Return " over TLSv1.3" or the like, "" without TLS."""
    link = peer.dul.socket.socket if peer.dul.socket is not None else None
    return f" over {link.version()}" if isinstance(link, ssl.SSLSocket) else ""


def _no_delay(event: evt.Event) -> None:
    # A 12-byte header and its body go out separately; Nagle and delayed ACK cost 40 ms per object.
    wire = event.assoc.dul.socket
    if wire is not None and wire.socket is not None:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
