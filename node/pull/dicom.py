"""`kind = "dicom-move"` and `"dicom-get"`: C-FIND, C-MOVE and C-GET of the study root (PS3.4 annex C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicomseg.read.predicates import MR_CLASSES
from node.config.pull import DicomSource
from node.deliver.dicom_association import Caller, NoAssociation, tls_version
from node.deliver.dicom_query import FIND, build_query
from node.deliver.status import SUCCESS
from node.pull.choose import is_uid
from node.pull.dicom_inquiry import DicomInquiry
from node.pull.guard import Guard
from node.pull.port import (
    FETCH_S,
    MOST_ANSWER_BYTES,
    MOST_FOREIGN,
    QUERY_S,
    Declared,
    Keep,
    SourceFault,
    Wanted,
)
from node.receive.wire import TRANSFER_SYNTAXES
from node.tls.credentials import Credentials

MOVE: Final = StudyRootQueryRetrieveInformationModelMove
GET: Final = StudyRootQueryRetrieveInformationModelGet
SILENT_S: Final = 600.0
"""Longest wait for an answer to C-MOVE and C-GET: not every PACS reports while it fetches from a tape."""
MOST_IN_MEMORY: Final = 256_000_000
"""Largest object by C-GET, which is held in memory until it is complete; C-MOVE and DICOMweb have no such limit."""
_MOST_CLASSES: Final = 9
"""Storage classes of one association: with each transfer syntax in a context of its own, 128 are allowed."""
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_REFUSED, _NOT_AUTHORIZED = 0xA700, 0x0124
_SOME_FAILED, _NO_SUCH_DESTINATION, _NOT_SENT = 0xB000, 0xA801, 0xA702
_UNABLE: Final = range(0xC000, 0xD000)
"""Unable to process: what some archives, Orthanc among them, answer to a C-MOVE for an AE title that they do not know."""


@dataclass(frozen=True, slots=True)
class DicomPacs:
    """A PACS that answers C-FIND, and C-MOVE or C-GET. own: the node's AE title. largest: bytes of one object."""

    name: str
    caller: Caller
    own: str
    by_get: bool
    largest: int
    stopped: Callable[[], bool]

    @classmethod
    def of(
        cls,
        config: DicomSource,
        own: str,
        credentials: Credentials | None,
        largest: int,
        stopped: Callable[[], bool],
    ) -> DicomPacs:
        """Make it from its section."""
        caller = Caller(
            config.ae_title, config.host, config.port, config.calling_ae_title or own,
            config.timeout_seconds, credentials if config.tls else None, "[[pull.source]]",
        )  # fmt: skip
        by_get = config.kind == "dicom-get"
        return cls(config.name, caller, own, by_get, min(largest, MOST_IN_MEMORY), stopped)

    @contextmanager
    def asking(self) -> Iterator[DicomInquiry]:
        """Open an association for C-FIND."""
        guard = Guard(MOST_ANSWER_BYTES, QUERY_S, self.caller.timeout_s, self.stopped)
        with self._associated([build_context(FIND)], guard) as peer:
            if not peer.accepted_contexts:
                raise SourceFault(f"{self.caller.address} does not accept C-FIND of the study root")
            guard.listen(peer, self.caller.timeout_s)
            yield DicomInquiry(peer, self.caller.address, guard)

    def fetch(self, wanted: Wanted, keep: Keep) -> str:
        """Retrieve a series or some of its objects."""
        return self._get(wanted, keep) if self.by_get else self._move(wanted)

    def echo(self) -> str:
        """Ask by C-ECHO, with the contexts for C-FIND and for the retrieval."""
        retrieve = GET if self.by_get else MOVE
        contexts = [build_context(uid) for uid in (Verification, FIND, retrieve)]
        guard = Guard(MOST_ANSWER_BYTES, QUERY_S, self.caller.timeout_s, self.stopped)
        with self._associated(contexts, guard) as peer:
            taken = {str(c.abstract_syntax) for c in peer.accepted_contexts}
            name = "C-GET" if self.by_get else "C-MOVE"
            refused = [n for uid, n in ((FIND, "C-FIND"), (retrieve, name)) if uid not in taken]
            if refused:
                what = " and ".join(refused)
                raise SourceFault(
                    f"{self.caller.address} does not accept {what} of the study root;"
                    " enable it on the PACS, or choose another kind of [[pull.source]]"
                )
            answer = peer.send_c_echo() if Verification in taken else Dataset()
            if answer.get("Status", SUCCESS) != SUCCESS:
                raise SourceFault(f"{self.caller.address} refuses C-ECHO")
            return f"{self.caller.address} accepts C-FIND and {name}{tls_version(peer)}"

    # ---- retrieval ----

    def _move(self, wanted: Wanted) -> str:
        """Let the PACS send to the node's own AE title; its listener receives."""
        guard = Guard(MOST_ANSWER_BYTES, FETCH_S, self.caller.timeout_s, self.stopped)
        with self._associated([build_context(MOVE)], guard) as peer:
            if not peer.accepted_contexts:
                raise SourceFault(f"{self.caller.address} does not accept C-MOVE")
            guard.listen(peer, SILENT_S)
            answers = peer.send_c_move(_identifier(wanted), self.own, MOVE)
            status = self._last_status(answers, guard)
        if status == _NO_SUCH_DESTINATION:
            raise SourceFault(
                f"{self.caller.address} does not know the move destination {self.own};"
                " register the node's AE title with host and port on the PACS"
            )
        if status == _NOT_SENT:
            return (
                f"{self.caller.address} could not send to {self.own} (0xA702); check host and port registered"
                " for the node on the PACS, and that the PACS is a [[receive.caller]]"
            )
        if status in _UNABLE:
            return (
                f"{self.caller.address} cannot process the C-MOVE to {self.own} (0x{status:04X}); register the node's"
                " AE title with host and port on the PACS, then look into its log"
            )
        return self._judged(status, "C-MOVE")

    def _get(self, wanted: Wanted, keep: Keep) -> str:
        """Take the objects over the same association."""
        guard = Guard(
            self.largest + MOST_ANSWER_BYTES, FETCH_S, self.caller.timeout_s, self.stopped
        )
        taking = _Taking(wanted, keep, guard)
        classes = _classes(wanted)
        contexts = [build_context(GET), *_contexts(classes)]
        roles = [build_role(uid, scp_role=True) for uid in classes]
        handlers = [(evt.EVT_C_STORE, taking.store)]
        with self._associated(contexts, guard, roles, handlers) as peer:
            if GET not in {c.abstract_syntax for c in peer.accepted_contexts}:
                raise SourceFault(f"{self.caller.address} does not accept C-GET")
            guard.listen(peer, SILENT_S)
            status = self._last_status(peer.send_c_get(_identifier(wanted), GET), guard)
        return taking.refusal or self._judged(status, "C-GET")

    def _last_status(self, answers: Iterator[tuple[Dataset, Any]], guard: Guard) -> int:
        """Return the status that a retrieval ended with. Raises `SourceFault` where it did not end."""
        for answer, _ in answers:
            guard.done(0)
            if "Status" not in answer:
                raise SourceFault(
                    f"{self.caller.address} {guard.reason or 'ended the association, or did not answer in time'}"
                )
            if int(answer.Status) not in _PENDING:
                return int(answer.Status)
        raise SourceFault(f"{self.caller.address} did not end its answer")

    def _judged(self, status: int, service: str) -> str:
        if status == SUCCESS:
            return ""
        if status == _SOME_FAILED:
            return f"{self.caller.address} could not send some objects ({service} 0xB000); look into its log"
        return f"{self.caller.address} answers {service} with 0x{status:04X}; look into its log"

    @contextmanager
    def _associated(
        self,
        contexts: Sequence[PresentationContext],
        guard: Guard,
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Association]:
        handlers = [(evt.EVT_CONN_OPEN, guard.attach), *handlers]
        try:
            with self.caller.associated(contexts, roles, handlers) as peer:
                yield peer
        except NoAssociation as error:
            reason = f"{self.caller.address} {guard.reason}" if guard.reason else str(error)
            raise SourceFault(reason) from error
        except RuntimeError as error:  # pynetdicom: the association ended before the request
            raise SourceFault(f"{self.caller.address} ended the association") from error


@dataclass(slots=True)
class _Taking:
    """Takes the objects of one C-GET; what was not asked for is refused."""

    wanted: Wanted
    keep: Keep
    guard: Guard
    refusal: str = ""
    foreign: int = 0

    def store(self, event: evt.Event) -> int:
        """Answer one C-STORE."""
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        content = request.DataSet.getbuffer()
        size = len(content)
        try:
            if uid not in {i.sop_instance for i in self.wanted.instances}:
                return self._foreign()
            declared = Declared(
                str(request.AffectedSOPClassUID), uid, str(event.context.transfer_syntax)
            )
            reason = self.keep(declared, [content])
            self.refusal = self.refusal or reason
            return _REFUSED if reason else SUCCESS
        finally:
            content.release()
            self.guard.done(size)

    def _foreign(self) -> int:
        self.foreign += 1
        self.refusal = "the source sends objects that were not asked for"
        if self.foreign > MOST_FOREIGN:
            self.guard.reason = "sends objects that were not asked for; look into its log"
        return _NOT_AUTHORIZED


def _identifier(wanted: Wanted) -> Dataset:
    query = build_query(
        "SERIES" if wanted.complete else "IMAGE",
        StudyInstanceUID=wanted.study,
        SeriesInstanceUID=wanted.series,
    )
    if not wanted.complete:
        query.SOPInstanceUID = [i.sop_instance for i in wanted.instances]
    return query


def _classes(wanted: Wanted) -> list[str]:
    """Storage classes that are offered: those that the query named, and those of MR images."""
    named = [i.sop_class for i in wanted.instances if is_uid(i.sop_class)]
    return list(dict.fromkeys([*MR_CLASSES, *named]))[:_MOST_CLASSES]


def _contexts(classes: Sequence[str]) -> list[PresentationContext]:
    """One context for each class and transfer syntax: of several in one, the PACS would have to choose for all objects."""
    return [build_context(uid, [syntax]) for uid in classes for syntax in TRANSFER_SYNTAXES]
