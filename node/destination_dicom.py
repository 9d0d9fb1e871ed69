"""`kind = "dicom"`: C-STORE with the needed contexts only, proof by C-FIND, C-ECHO to reach."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node.config import DicomDestination
from node.destinations import (
    Answer,
    Outcome,
    Parcel,
    PeerUnreachable,
    Proof,
    all_alike,
)

SUCCESS: Final = 0x0000
DUPLICATE: Final = 0x0111
"""Duplicate SOP Instance: the peer holds it already, and one UID never stands for two contents."""

_STORE_STATUS: Final[Mapping[int, Answer]] = MappingProxyType(
    {SUCCESS: "accepted", DUPLICATE: "accepted", 0x0110: "transient"}
)
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def judge_status(status: int) -> Answer:
    """What a C-STORE status means for us (PS3.4 B.2.3, PS3.7 C).

    Warnings (0xBnnn) are successes. 0xA7nn is "out of resources" and passes, as does 0x0110
    (processing failure); everything else says that the object will not be taken.
    """
    if status in _STORE_STATUS:
        return _STORE_STATUS[status]
    if status >> 12 == 0xB:
        return "accepted"
    return "transient" if status >> 8 == 0xA7 else "permanent"


class _Refused(Exception):
    """No association: why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Pacs:
    """A peer that takes C-STORE. Times in seconds."""

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    timeout_s: float
    prove_by_query: bool = True

    @classmethod
    def of(cls, config: DicomDestination, ae_title: str) -> Pacs:
        """Make it from its section; `ae_title` is the node's own."""
        return cls(
            config.name,
            config.ae_title,
            config.host,
            config.port,
            config.calling_ae_title or ae_title,
            config.timeout_seconds,
            config.prove,
        )

    def send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Store every object over one association; an outcome each."""
        outcomes: list[Outcome] = []
        try:
            with self._associated(_storage_contexts(parcels)) as peer:
                for number, parcel in enumerate(parcels, start=1):
                    outcomes.append(_store(peer, parcel, number))
        except _Refused as error:
            return all_alike(parcels, "transient", str(error), "no association")
        return tuple(outcomes)

    def prove(self, parcels: Sequence[Parcel]) -> Proof:
        """Ask by C-FIND at IMAGE level for every object (PS3.4 C.6.2.1)."""
        if not self.prove_by_query:
            return Proof("not_offered", "prove = false")
        model = StudyRootQueryRetrieveInformationModelFind
        try:
            with self._associated([build_context(model)]) as peer:
                if not peer.accepted_contexts:
                    return Proof("not_offered", f"{self.ae_title} offers no C-FIND")
                missing = [p.file for p in parcels if not _holds(peer, p)]
        except _Refused as error:
            return Proof("missing", str(error))
        except _NoQuery as error:
            return Proof("not_offered", f"{self.ae_title}: {error}")
        if missing:
            return Proof("missing", f"{self.ae_title} does not find {', '.join(missing)}")
        return Proof("found", f"C-FIND: {self.ae_title} holds {len(parcels)} objects")

    def reach(self) -> str:
        """C-ECHO."""
        try:
            with self._associated([build_context(Verification)]) as peer:
                answer = peer.send_c_echo() if peer.accepted_contexts else Dataset()
        except _Refused as error:
            raise PeerUnreachable(f"destination {self.name}: {error}") from error
        if answer.get("Status") != SUCCESS:
            raise PeerUnreachable(
                f"destination {self.name}: {self._address} refuses C-ECHO; check its configuration"
            )
        return f"{self._address} answers C-ECHO"

    @property
    def _address(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    @contextmanager
    def _associated(self, contexts: Sequence[PresentationContext]) -> Iterator[Association]:
        """One association with these contexts, released at the end. Raises `_Refused`."""
        ae = AE(self.calling_ae_title)
        for limit in ("acse_timeout", "dimse_timeout", "network_timeout", "connection_timeout"):
            setattr(ae, limit, self.timeout_s)
        peer = ae.associate(
            self.host,
            self.port,
            contexts=list(contexts),
            ae_title=self.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
        )
        try:
            if peer.is_rejected:
                raise _Refused(
                    f"{self._address} rejects {self.calling_ae_title}; enter the node's AE title there"
                )
            # No accepted context aborts, too: then there was an answer.
            if not peer.is_established and not peer.rejected_contexts:
                raise _Refused(
                    f"{self._address} does not answer; check that it runs, its address and port"
                )
            yield peer
        finally:
            if peer.is_established:
                peer.release()


class _NoQuery(Exception):
    """The peer refuses the query itself: why."""


def _no_delay(event: evt.Event) -> None:
    # A 12-byte header and its body go out separately; Nagle and delayed ACK cost 40 ms per object.
    wire = event.assoc.dul.socket
    if wire is not None and wire.socket is not None:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _storage_contexts(parcels: Sequence[Parcel]) -> list[PresentationContext]:
    """One context per SOP class and encoding that is sent, and Implicit VR to fall back to.

    In contexts of their own: from one context with both the acceptor chooses by its own order, and
    many choose Implicit VR, which loses the types of private elements.
    """
    wanted: dict[tuple[str, str], None] = {}
    for parcel in parcels:
        wanted[parcel.sop_class, parcel.transfer_syntax] = None
        if parcel.transfer_syntax in _NATIVE:
            wanted[parcel.sop_class, ImplicitVRLittleEndian] = None
    return [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]


def _store(peer: Association, parcel: Parcel, number: int) -> Outcome:
    if parcel.sop_class not in {str(c.abstract_syntax) for c in peer.accepted_contexts}:
        text = f"the peer takes no objects of class {parcel.sop_class}; allow it there"
        return Outcome(parcel.file, "permanent", text, "no context")
    if not peer.is_established:
        return Outcome(parcel.file, "transient", "the peer ended the association", "aborted")
    try:
        answer = peer.send_c_store(dcmread(parcel.path), msg_id=number)
    except ValueError as error:
        return Outcome(parcel.file, "permanent", f"cannot be sent: {error}", "no context")
    except RuntimeError:
        return Outcome(parcel.file, "transient", "the peer ended the association", "aborted")
    if "Status" not in answer:
        return Outcome(parcel.file, "transient", "no answer in time", "no answer")
    status = int(answer.Status)
    return Outcome(
        parcel.file, judge_status(status), str(answer.get("ErrorComment", "")), f"0x{status:04X}"
    )


def _holds(peer: Association, parcel: Parcel) -> bool:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = parcel.study
    query.SeriesInstanceUID = parcel.series
    query.SOPInstanceUID = parcel.sop_instance
    found = False
    if not peer.is_established:
        raise _Refused("the peer ended the association during the query")
    for answer, identifier in peer.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
        if "Status" not in answer:
            raise _Refused("no answer to the query in time")
        if answer.Status in _PENDING and identifier is not None:
            found = (
                found
                or identifier.get("SOPInstanceUID", parcel.sop_instance) == parcel.sop_instance
            )
        elif answer.Status != SUCCESS:
            raise _NoQuery(f"C-FIND answers 0x{int(answer.Status):04X}")
    return found
