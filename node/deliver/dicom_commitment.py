"""Storage commitment over pynetdicom: ask a peer, and take its report on the same association; report to a peer.

In: an association with the Storage Commitment Push Model accepted (PS3.4 annex J).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from node.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST,
    BadCommitment,
    Reference,
    Report,
    Request,
    read_report,
    report_data_set,
    request_data_set,
)
from node.deliver.port import NO_ANSWER, CommitmentAnswer
from node.deliver.status import SUCCESS

MOST_REFERENCES: Final = 10_000
"""References of a report that is read; a result has fewer than ten objects."""
_UNSUPPORTED: Final = frozenset({0x0112, 0x0118, 0x0119, 0x0122, 0x0123, 0x0211})
"""Statuses by which a peer says that it does not serve N-ACTION of the push model (PS3.7 annex C)."""
_INVALID, _FAILURE = 0x0115, 0x0110
_LOOK_S: Final = 0.05


def contexts() -> list[PresentationContext]:
    """Return the presentation context of storage commitment."""
    return [build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]


def reporting_role() -> SCP_SCU_RoleSelectionNegotiation:
    """Return the proposal to report as SCP over an association that we begin (PS3.4 J.3.3)."""
    return build_role(PUSH_MODEL, scp_role=True)


def ask(
    peer: Association,
    request: Request,
    wait_s: float,
    keep: Callable[[Report], None],
    reported: Callable[[], bool],
    address: str,
) -> CommitmentAnswer:
    """Send N-ACTION, and wait a little for the report on the same association.

    keep: makes a report durable, before it is answered; called from another thread. reported: whether the report has
    come over another association.
    """
    came = _take_reports(peer, request.transaction_uid, keep)
    answer, _ = peer.send_n_action(
        request_data_set(request), REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE
    )
    judged = _judge(answer, address)
    if judged.value == "accepted":
        # From here on the association's own thread may take what the peer sends.
        peer.dimse.__dict__.pop("get_msg", None)
        ends_at = time.monotonic() + wait_s
        while time.monotonic() < ends_at and peer.is_established and not reported():
            if came.wait(_LOOK_S):
                break
    return judged


def _take_reports(
    peer: Association, transaction_uid: str, keep: Callable[[Report], None]
) -> threading.Event:
    """Take the report on this transaction; the event is set when the peer has the response to it."""
    kept, came = threading.Event(), threading.Event()

    def take(event: evt.Event) -> tuple[int, Dataset | None]:
        try:
            report = read_report(event.event_information, MOST_REFERENCES)
            if report.transaction_uid != transaction_uid:
                return _INVALID, None
            keep(report)
        except BadCommitment:
            return _INVALID, None
        except Exception:  # noqa: BLE001 - the peer reports again, and we ask again
            return _FAILURE, None
        kept.set()
        return SUCCESS, None

    def sent(_: evt.Event) -> None:
        # pynetdicom fails when an association is released with a response on its way.
        if kept.is_set():
            came.set()

    peer.bind(evt.EVT_N_EVENT_REPORT, take)
    peer.bind(evt.EVT_PDU_SENT, sent)
    return came


def _judge(answer: Dataset, address: str) -> CommitmentAnswer:
    """Return what the status of an N-ACTION says."""
    if "Status" not in answer:
        text = f"{address} does not answer the request for storage commitment"
        return CommitmentAnswer("unknown", text, NO_ANSWER)
    status = int(answer.Status)
    code = f"0x{status:04X}"
    if status == SUCCESS:
        return CommitmentAnswer("accepted", f"{address} was asked for storage commitment", code)
    if status in _UNSUPPORTED:
        text = f"{address} answers the request for storage commitment with {code}"
        return CommitmentAnswer("unsupported", text, code)
    text = f"{address} refuses the request for storage commitment with {code}"
    return CommitmentAnswer("unknown", text, code)


def report(
    peer: Association,
    transaction_uid: str,
    references: Sequence[Reference],
    failed: Mapping[str, int],
) -> str:
    """Send N-EVENT-REPORT; returns "", or why it was not taken."""
    event_type, ds = report_data_set(transaction_uid, references, failed)
    answer, _ = peer.send_n_event_report(ds, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    if "Status" not in answer:
        return "does not answer N-EVENT-REPORT"
    status = int(answer.Status)
    return "" if status == SUCCESS else f"answers N-EVENT-REPORT with 0x{status:04X}"
