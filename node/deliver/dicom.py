"""`kind = "dicom"`: C-STORE with the needed contexts only, verification and counts by C-FIND, C-ECHO."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from node.commitment import Reference, Report, Request
from node.config.destinations import DicomDestination
from node.deliver import dicom_commitment
from node.deliver.dicom_query import FIND, count_images, is_held, related_instances
from node.deliver.offers import NATIVE, Acceptance, EchoAnswer, Offer, class_name, remedy
from node.deliver.port import (
    NO_ANSWER,
    NO_ASSOCIATION,
    CommitmentAnswer,
    Outcome,
    QueryUnanswered,
    QueryUnsupported,
    ResultFile,
    StorageCheck,
    all_alike,
)
from node.deliver.status import SUCCESS, judge_status
from node.errors import PeerUnreachable, TlsError
from node.tls.credentials import Credentials
from node.tls.outgoing import Outgoing

_config.LOG_HANDLER_LEVEL = "none"  # it formats every PDU and message for a log that is never read


ABORTED: Final = "aborted"
PROBE_S: Final = 10.0
"""Longest time for the answer to a probe."""


class _Refused(Exception):
    """No association: why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Pacs:
    """A peer that takes C-STORE. Times in seconds. credentials: for TLS; None is a connection without."""

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    timeout_s: float
    verify_by_query: bool = True
    credentials: Credentials | None = None

    @classmethod
    def of(
        cls, config: DicomDestination, ae_title: str, credentials: Credentials | None = None
    ) -> Pacs:
        """Make it from its section; `ae_title` is the node's own."""
        if config.tls and credentials is None:
            raise ValueError(f"destination {config.name} needs the node's credentials")
        return cls(
            config.name,
            config.ae_title,
            config.host,
            config.port,
            config.calling_ae_title or ae_title,
            config.timeout_seconds,
            config.proof != "none",
            credentials if config.tls else None,
        )

    def send(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Store every object over one association, a new one after an abort; an outcome each."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(files):
            rest = files[len(outcomes) :]
            try:
                with self._associated(_storage_contexts(rest)) as peer:
                    outcomes += self._stored(peer, rest, len(outcomes) + 1)
            except _Refused as error:
                outcomes += all_alike(rest, "transient", str(error), NO_ASSOCIATION)
        return tuple(outcomes)

    def _stored(self, peer: Association, files: Sequence[ResultFile], first: int) -> list[Outcome]:
        """Store one after the other, up to the one at which the peer ends the association.

        Whether an object is the reason of such an end shows when it is the first of the next association.
        """
        outcomes: list[Outcome] = []
        for number, file in enumerate(files, start=first):
            began_s = time.monotonic()
            outcomes.append(_store(peer, file, number, self._address))
            if outcomes[-1].status == ABORTED and time.monotonic() - began_s >= self.timeout_s:
                text = f"{self._address} does not answer C-STORE within {self.timeout_s:g} s"
                outcomes[-1] = Outcome(file.name, "transient", text, NO_ANSWER)
            if outcomes[-1].status == ABORTED:
                return outcomes[:-1] or outcomes
            if outcomes[-1].status == NO_ANSWER:  # nor would the others get one
                rest = files[len(outcomes) :]
                text = f"not sent: {self._address} did not answer before"
                return [*outcomes, *all_alike(rest, "transient", text, NO_ANSWER)]
        return outcomes

    def verify_stored(self, files: Sequence[ResultFile]) -> StorageCheck:
        """Ask by C-FIND at IMAGE level for every object (PS3.4 C.6.2.1)."""
        if not self.verify_by_query:
            return StorageCheck("unsupported", 'proof = "none"')
        try:
            with self._querying() as peer:
                missing = tuple(p.name for p in files if not is_held(peer, p))
        except QueryUnsupported as error:
            return StorageCheck("unsupported", f"{self._address} {error}")
        except QueryUnanswered as error:
            return StorageCheck("unknown", f"{self._address} {error}")
        except _Refused as error:
            return StorageCheck("unknown", str(error), status=NO_ASSOCIATION)
        if missing:
            text = f"C-FIND: {self._address} does not find {', '.join(missing)}"
            return StorageCheck("missing", text, missing)
        return StorageCheck("stored", f"C-FIND: {self._address} holds {len(files)} objects")

    def count(self, study: str, series: str) -> int | None:
        """Ask by C-FIND for Number of Series Related Instances, else count the answers at IMAGE level."""
        try:
            with self._querying() as peer:
                number = related_instances(peer, study, series)
                return count_images(peer, study, series) if number is None else number
        except (QueryUnsupported, QueryUnanswered, _Refused):
            return None

    def probe(self) -> bool:
        """Send C-ECHO; a peer that answers the association request responds, even without C-ECHO."""
        quick = replace(self, timeout_s=min(self.timeout_s, PROBE_S))
        try:
            with quick._associated([build_context(Verification)]) as peer:  # noqa: SLF001 - of this class
                if peer.accepted_contexts:
                    return "Status" in peer.send_c_echo()
                return bool(peer.rejected_contexts)
        except _Refused:
            return False

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Send C-ECHO, with the objects offered as for sending; none is sent."""
        wanted = {(o.sop_class, syntax): None for o in offers for syntax in o.syntaxes}
        contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]
        try:
            with self._associated([build_context(Verification), *contexts]) as peer:
                taken = _accepted(peer)
                answer = peer.send_c_echo() if Verification in taken else Dataset()
                secured = _tls_version(peer)
        except _Refused as error:
            raise PeerUnreachable(f"destination {self.name}: {error}") from error
        if answer.get("Status") != SUCCESS:
            raise PeerUnreachable(
                f"destination {self.name}: {self._address} refuses C-ECHO; enable it on the PACS"
            )
        objects = tuple(_acceptance(offer, taken.get(offer.sop_class, ())) for offer in offers)
        return EchoAnswer(f"{self._address} answers C-ECHO{secured}", objects)

    def commit(
        self,
        request: Request,
        wait_s: float,
        keep: Callable[[Report], None],
        reported: Callable[[], bool],
    ) -> CommitmentAnswer:
        """Ask for storage commitment by N-ACTION (PS3.4 annex J)."""
        try:
            with self._associated(dicom_commitment.contexts()) as peer:
                if not peer.accepted_contexts:
                    text = f"{self._address} does not support storage commitment"
                    return CommitmentAnswer("unsupported", text)
                return dicom_commitment.ask(peer, request, wait_s, keep, reported, self._address)
        except _Refused as error:
            return CommitmentAnswer("unknown", str(error), NO_ASSOCIATION)

    def tell(
        self, transaction_uid: str, references: Sequence[Reference], failed: Mapping[str, int]
    ) -> str:
        """Report by N-EVENT-REPORT what the peer asked for, in the role of SCP."""
        roles = [dicom_commitment.reporting_role()]
        try:
            with self._associated(dicom_commitment.contexts(), roles) as peer:
                if not peer.accepted_contexts:
                    return f"{self._address} accepts no report on storage commitment"
                reason = dicom_commitment.report(peer, transaction_uid, references, failed)
                return f"{self._address} {reason}" if reason else ""
        except _Refused as error:
            return str(error)

    @contextmanager
    def _querying(self) -> Iterator[Association]:
        """One association for C-FIND. Raises `QueryUnsupported` and `_Refused`."""
        with self._associated([build_context(FIND)]) as peer:
            if not peer.accepted_contexts:
                raise QueryUnsupported("does not support C-FIND; storage cannot be verified")
            yield peer

    @property
    def _address(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    @contextmanager
    def _associated(
        self,
        contexts: Sequence[PresentationContext],
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    ) -> Iterator[Association]:
        """One association with these contexts, released at the end. Raises `_Refused`."""
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
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay), (evt.EVT_CONN_OPEN, opened.append)],
        )
        try:
            refusal = self._refusal(peer, tls, connected=bool(opened))
            if refusal:
                raise _Refused(refusal)
            _keep_answers(peer)
            yield peer
        finally:
            if peer.is_established:
                peer.release()
            if tls is not None:
                tls.close()

    def _tls(self) -> Outgoing | None:
        """Return the TLS of a new connection. Raises `_Refused`."""
        try:
            return None if self.credentials is None else Outgoing(self.credentials.context("dicom"))
        except TlsError as error:
            raise _Refused(str(error)) from error

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
                f"{self._address} rejected calling AE title {self.calling_ae_title}{reason}; "
                "register the node's AE title on the PACS, and check ae_title in [[node.destination]]"
            )
        # No accepted context aborts, too: then there was an answer.
        if peer.is_established or peer.rejected_contexts:
            return ""
        if tls is not None and tls.fault:
            return (
                f"{self._address} and the node agree on no TLS connection: {tls.fault}; "
                "check [tls] and the certificates of both sides"
            )
        if connected:
            kind = "without" if tls is None else "with"
            return (
                f"{self._address} accepts the connection but does not answer the association request; "
                f"check that the port is one of DICOM {kind} TLS, and its log"
            )
        return f"{self._address} does not respond; check that it is running, its host and port"


def _keep_answers(peer: Association) -> None:
    """Let nothing but the call that waits for an answer take one from the queue.

    pynetdicom 3.0 pauses the association's own thread, which looks for requests of the peer, before it sends; a thread
    that has passed the pause by then takes the answer and drops it: one query in a hundred on a busy machine found
    nothing, and a C-STORE got no answer. A peer sends no requests here.
    """
    receive = peer.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return receive(block=True) if block else (None, None)

    peer.dimse.get_msg = get_msg  # type: ignore[method-assign]


def _tls_version(peer: Association) -> str:
    """Return " over TLSv1.3" or the like, "" without TLS."""
    link = peer.dul.socket.socket if peer.dul.socket is not None else None
    return f" over {link.version()}" if isinstance(link, ssl.SSLSocket) else ""


def _no_delay(event: evt.Event) -> None:
    # A 12-byte header and its body go out separately; Nagle and delayed ACK cost 40 ms per object.
    wire = event.assoc.dul.socket
    if wire is not None and wire.socket is not None:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _storage_contexts(files: Sequence[ResultFile]) -> list[PresentationContext]:
    """One context per SOP class and encoding that is sent, and Implicit VR to fall back to.

    In contexts of their own: from one context with both the acceptor chooses by its own order, and
    many choose Implicit VR, which loses the types of private elements.
    """
    wanted: dict[tuple[str, str], None] = {}
    for variant in (v for file in files for v in (file, file.plain) if v):
        wanted[variant.sop_class, variant.transfer_syntax] = None
        if variant.transfer_syntax in NATIVE:
            wanted[variant.sop_class, ImplicitVRLittleEndian] = None
    return [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]


def _accepted(peer: Association) -> dict[str, list[str]]:
    """Accepted transfer syntaxes by SOP class."""
    taken: dict[str, list[str]] = {}
    for context in peer.accepted_contexts:
        syntaxes = taken.setdefault(str(context.abstract_syntax), [])
        syntaxes += [str(syntax) for syntax in context.transfer_syntax]
    return taken


def _acceptance(offer: Offer, taken: Sequence[str]) -> Acceptance:
    syntax = next((s for s in offer.syntaxes if s in taken), "")
    return Acceptance(offer, "accepted" if syntax else "refused", syntax)


def _variant(file: ResultFile, taken: Sequence[str]) -> ResultFile:
    """The file as the peer takes it: compressed, or plain where it takes no compression."""
    return file.plain if file.plain and file.transfer_syntax not in taken else file


def _store(peer: Association, file: ResultFile, number: int, address: str) -> Outcome:
    taken = _accepted(peer).get(file.sop_class)
    if taken is None:
        name, what_to_do = class_name(file.sop_class), remedy(file.sop_class)
        text = f"{address} does not accept SOP class {name}; {what_to_do}"
        return Outcome(file.name, "permanent", text, "no context")
    if not peer.is_established:
        return Outcome(file.name, "transient", f"{address} ended the association", ABORTED)
    try:
        answer = peer.send_c_store(dcmread(_variant(file, taken).path), msg_id=number)
    except ValueError as error:
        return Outcome(file.name, "permanent", f"cannot be sent: {error}", "no context")
    except RuntimeError:
        return Outcome(file.name, "transient", f"{address} ended the association", ABORTED)
    if "Status" not in answer:  # aborted, by the peer or after the time-out by ourselves
        return Outcome(file.name, "transient", f"{address} ended the association", ABORTED)
    status = int(answer.Status)
    if judge_status(status) == "accepted":
        return Outcome(file.name, "accepted", status=f"0x{status:04X}")
    # Never its Error Comment, which may quote the patient: the reason is kept in journal, log and audit trail.
    text = f"{address} answers C-STORE with {_meaning(status)}; look into its log"
    return Outcome(file.name, judge_status(status), text, f"0x{status:04X}")


def _meaning(status: int) -> str:
    """Status with the standard's words for it (PS3.7 C, PS3.4 B.2.3)."""
    words = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", ""))[1]
    return f"0x{status:04X}" + (f", {words[0].lower()}{words[1:]}" if words else "")
