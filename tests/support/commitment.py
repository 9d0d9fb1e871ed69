"""Peers of storage commitment: an archive that reports as a test says, and a modality that asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node.commitment import (
    NO_SUCH_OBJECT,
    Reference,
    Report,
    Request,
    new_transaction_uid,
    read_report,
    read_request,
    report_data_set,
    request_data_set,
)
from node.deliver.dicom_association import keep_answers

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
Manner = Literal["same", "new", "never", "wrong", "refuse"]


@dataclass
class Archive:
    """An archive under test control, which listens as ARCHIVE.

    manner: reports over the same association, over a new one, never, under a transaction UID that was not asked for,
    or refuses the request. fail: Failure Reason by SOP Instance UID. unlisted: objects that its report leaves out.
    lose: objects that it takes and does not keep, once. report_to: port of the peer that asked.
    """

    manner: Manner = "same"
    fail: Mapping[str, int] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    lose: set[str] = field(default_factory=set)
    refusal: int = 0x0213
    query: bool = False
    report_to: int = 0
    calling: str = "ARCHIVE"
    held: dict[str, str] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    def report_for(self, request: Request) -> tuple[int, Dataset]:
        failed = {
            r.sop_instance: NO_SUCH_OBJECT
            for r in request.references
            if r.sop_instance not in self.held
        }
        uid = new_transaction_uid() if self.manner == "wrong" else request.transaction_uid
        named = [r for r in request.references if r.sop_instance not in self.unlisted]
        return report_data_set(uid, named, failed | dict(self.fail))

    def report_now(self, request: Request) -> int:
        """Report over an association of its own; returns the status, -1 without one."""
        ae = AE(self.calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 8
        ae.add_requested_context(StorageCommitmentPushModel, list(SYNTAXES))
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        assoc = ae.associate("127.0.0.1", self.report_to, ae_title="NODE", ext_neg=[role])
        if not assoc.is_established:
            return -1
        status = send_report(assoc, *self.report_for(request))
        assoc.release()
        return status


def send_report(assoc: Any, event_type: int, ds: Dataset) -> int:
    answer, _ = assoc.send_n_event_report(
        ds, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return int(answer.get("Status", -1))


@contextmanager
def serving(archive: Archive, classes: Sequence[str]) -> Iterator[int]:
    """Run the archive on a free port."""

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        archive.stored.append(uid)
        if uid in archive.lose:
            archive.lose.discard(uid)
        else:
            archive.held[uid] = str(event.request.AffectedSOPClassUID)
        return 0x0000

    def action(event: evt.Event) -> tuple[int, Dataset | None]:
        request = read_request(event.action_information, 1000)
        archive.asked.append(request)
        if archive.manner == "refuse":
            return archive.refusal, None
        if archive.manner != "never":
            late = threading.Timer(0.05, report, (event.assoc, request))
            late.daemon = True
            late.start()
        return 0x0000, None

    def report(assoc: Any, request: Request) -> None:
        if archive.manner == "same" or (archive.manner == "wrong" and not archive.report_to):
            archive.taken.append(send_report(assoc, *archive.report_for(request)))
        else:
            archive.taken.append(archive.report_now(request))

    ae = AE("ARCHIVE")
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(SYNTAXES))
    ae.add_supported_context(Verification)
    ae.add_supported_context(
        StorageCommitmentPushModel, list(SYNTAXES), scu_role=True, scp_role=True
    )
    if archive.query:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, action)],
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Modality:
    """A peer that asks the node for commitment; reports are those that it took, over any association."""

    reports: list[Report] = field(default_factory=list)
    ae_title: str = "MR1"

    def _took(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(read_report(event.event_information, 1000))
        return 0x0000, None

    def ask(
        self, port: int, references: Sequence[Reference], *, stay_s: float = 0.0
    ) -> tuple[str, int]:
        """Ask for commitment; returns transaction UID and status. stay_s: how long the association is left open."""
        ae = AE(self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 8
        ae.add_requested_context(StorageCommitmentPushModel, list(SYNTAXES))
        roles = build_role(StorageCommitmentPushModel, scu_role=True, scp_role=False)
        assoc = ae.associate(
            "127.0.0.1", port, ae_title="NODE", ext_neg=[roles],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._took)],
        )  # fmt: skip
        assert assoc.is_established
        keep_answers(assoc)
        request = Request(new_transaction_uid(), tuple(references))
        answer, _ = assoc.send_n_action(
            request_data_set(request),
            1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        assoc.dimse.__dict__.pop("get_msg")
        ends_at = time.monotonic() + stay_s
        while time.monotonic() < ends_at and not self.reports:
            time.sleep(0.02)
        time.sleep(0.3 * bool(self.reports))  # pynetdicom fails with a response on its way
        assoc.release()
        return request.transaction_uid, int(answer.get("Status", -1))

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Take reports over associations of the node."""
        ae = AE(self.ae_title)
        ae.add_supported_context(
            StorageCommitmentPushModel, list(SYNTAXES), scu_role=True, scp_role=True
        )
        server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._took)]
        )
        assert server is not None
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()
