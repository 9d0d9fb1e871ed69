"""`kind = "dicom"`: C-STORE with the needed contexts only, verification and counts by C-FIND, C-ECHO."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)

from node.commitment import Reference, Report, Request
from node.config.destinations import DicomDestination
from node.deliver import dicom_commitment
from node.deliver.dicom_association import Caller, NoAssociation, tls_version
from node.deliver.dicom_query import FIND, count_images, is_held, related_instances
from node.deliver.dicom_storage import ABORTED, accepted_syntaxes, storage_contexts, store
from node.deliver.offers import Acceptance, EchoAnswer, Offer
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
from node.deliver.status import SUCCESS
from node.errors import PeerUnreachable
from node.tls.credentials import Credentials

PROBE_S: Final = 10.0
"""Longest time for the answer to a probe."""


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

    @property
    def _caller(self) -> Caller:
        return Caller(
            self.ae_title, self.host, self.port, self.calling_ae_title, self.timeout_s,
            self.credentials,
        )  # fmt: skip

    def send(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Store every object over one association, a new one after an abort; an outcome each."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(files):
            rest = files[len(outcomes) :]
            try:
                with self._caller.associated(storage_contexts(rest)) as peer:
                    outcomes += self._stored(peer, rest, len(outcomes) + 1)
            except NoAssociation as error:
                outcomes += all_alike(rest, "transient", str(error), NO_ASSOCIATION)
        return tuple(outcomes)

    def _stored(self, peer: Association, files: Sequence[ResultFile], first: int) -> list[Outcome]:
        """Store one after the other, up to the one at which the peer ends the association.

        Whether an object is the reason of such an end shows when it is the first of the next association.
        """
        outcomes: list[Outcome] = []
        for number, file in enumerate(files, start=first):
            began_s = time.monotonic()
            outcomes.append(store(peer, file, number, self._caller.address))
            if outcomes[-1].status == ABORTED and time.monotonic() - began_s >= self.timeout_s:
                text = f"{self._caller.address} does not answer C-STORE within {self.timeout_s:g} s"
                outcomes[-1] = Outcome(file.name, "transient", text, NO_ANSWER)
            if outcomes[-1].status == ABORTED:
                return outcomes[:-1] or outcomes
            if outcomes[-1].status == NO_ANSWER:  # nor would the others get one
                rest = files[len(outcomes) :]
                text = f"not sent: {self._caller.address} did not answer before"
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
            return StorageCheck("unsupported", f"{self._caller.address} {error}")
        except QueryUnanswered as error:
            return StorageCheck("unknown", f"{self._caller.address} {error}")
        except NoAssociation as error:
            return StorageCheck("unknown", str(error), status=NO_ASSOCIATION)
        if missing:
            text = f"C-FIND: {self._caller.address} does not find {', '.join(missing)}"
            return StorageCheck("missing", text, missing)
        return StorageCheck("stored", f"C-FIND: {self._caller.address} holds {len(files)} objects")

    def count(self, study: str, series: str) -> int | None:
        """Ask by C-FIND for Number of Series Related Instances, else count the answers at IMAGE level."""
        try:
            with self._querying() as peer:
                number = related_instances(peer, study, series)
                return count_images(peer, study, series) if number is None else number
        except (QueryUnsupported, QueryUnanswered, NoAssociation):
            return None

    def probe(self) -> bool:
        """Send C-ECHO; a peer that answers the association request responds, even without C-ECHO."""
        quick = replace(self, timeout_s=min(self.timeout_s, PROBE_S))
        try:
            with quick._caller.associated([build_context(Verification)]) as peer:  # noqa: SLF001 - of this class
                if peer.accepted_contexts:
                    return "Status" in peer.send_c_echo()
                return bool(peer.rejected_contexts)
        except NoAssociation:
            return False

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Send C-ECHO, with the objects offered as for sending; none is sent."""
        wanted = {(o.sop_class, syntax): None for o in offers for syntax in o.syntaxes}
        contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]
        try:
            with self._caller.associated([build_context(Verification), *contexts]) as peer:
                taken = accepted_syntaxes(peer)
                answer = peer.send_c_echo() if Verification in taken else Dataset()
                secured = tls_version(peer)
        except NoAssociation as error:
            raise PeerUnreachable(f"destination {self.name}: {error}") from error
        if answer.get("Status") != SUCCESS:
            raise PeerUnreachable(
                f"destination {self.name}: {self._caller.address} refuses C-ECHO; enable it on the PACS"
            )
        objects = tuple(_acceptance(offer, taken.get(offer.sop_class, ())) for offer in offers)
        return EchoAnswer(f"{self._caller.address} answers C-ECHO{secured}", objects)

    def commit(
        self,
        request: Request,
        wait_s: float,
        keep: Callable[[Report], None],
        reported: Callable[[], bool],
    ) -> CommitmentAnswer:
        """Ask for storage commitment by N-ACTION (PS3.4 annex J)."""
        try:
            with self._caller.associated(dicom_commitment.contexts()) as peer:
                if not peer.accepted_contexts:
                    text = f"{self._caller.address} does not support storage commitment"
                    return CommitmentAnswer("unsupported", text)
                return dicom_commitment.ask(
                    peer, request, wait_s, keep, reported, self._caller.address
                )
        except NoAssociation as error:
            return CommitmentAnswer("unknown", str(error), NO_ASSOCIATION)

    def tell(
        self, transaction_uid: str, references: Sequence[Reference], failed: Mapping[str, int]
    ) -> str:
        """Report by N-EVENT-REPORT what the peer asked for, in the role of SCP."""
        roles = [dicom_commitment.reporting_role()]
        try:
            with self._caller.associated(dicom_commitment.contexts(), roles) as peer:
                if not peer.accepted_contexts:
                    return f"{self._caller.address} accepts no report on storage commitment"
                reason = dicom_commitment.report(peer, transaction_uid, references, failed)
                return f"{self._caller.address} {reason}" if reason else ""
        except NoAssociation as error:
            return str(error)

    @contextmanager
    def _querying(self) -> Iterator[Association]:
        """One association for C-FIND. Raises `QueryUnsupported` and `NoAssociation`."""
        with self._caller.associated([build_context(FIND)]) as peer:
            if not peer.accepted_contexts:
                raise QueryUnsupported("does not support C-FIND; storage cannot be verified")
            yield peer


def _acceptance(offer: Offer, taken: Sequence[str]) -> Acceptance:
    syntax = next((s for s in offer.syntaxes if s in taken), "")
    return Acceptance(offer, "accepted" if syntax else "refused", syntax)
