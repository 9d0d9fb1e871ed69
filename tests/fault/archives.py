"""An archive that is asked for storage commitment, and reports as a scenario says (PS3.4 annex J)."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.commitment import (
    NO_SUCH_OBJECT,
    Request,
    new_transaction_uid,
    read_request,
    report_data_set,
)
from node.demo import servers
from tests.fault.peers import Moody

Manner = Literal["at-once", "late", "never", "loses-one", "unknown", "twice", "failing"]
"""at-once: reports in a new association. late: after seconds. never: takes the request and forgets it. loses-one: it
lost an object, and says so. unknown: reports on a transaction that it was never asked for, then on the right one.
twice: the same report again. failing: one object with a reason that passes, the next time it is well."""

_SYNTAXES: Final = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_PASSES: Final = 0x0213
LATE_S: Final = 2.0


@dataclass
class Committing(Moody):
    """A storage SCP that answers no queries and serves storage commitment. report_to: port of the node."""

    name: str = "archive"
    manner: Manner = "at-once"
    report_to: int = 0
    asked: int = 0
    taken: dict[str, list[int]] = field(default_factory=dict)
    """Statuses with which the node answered reports, by manner."""
    _failed: set[str] = field(default_factory=set)

    @property
    def section(self) -> str:
        return super().section.replace('proof = "auto"', 'proof = "commitment"')

    def contexts(self, ae: AE) -> list[Any]:
        ae.add_supported_context(
            StorageCommitmentPushModel, list(_SYNTAXES), scu_role=True, scp_role=True
        )
        return [(evt.EVT_N_ACTION, self._action)]

    def _action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        request = read_request(event.action_information, 1000)
        self.asked += 1
        if self.manner != "never":
            late = threading.Timer(
                LATE_S if self.manner == "late" else 0.05, self._report, (request, self.manner)
            )
            late.daemon = True
            late.start()
        return 0x0000, None

    def _report(self, request: Request, manner: Manner) -> None:
        first = request.references[0].sop_instance
        if manner == "loses-one" and first not in self._failed:
            self._failed.add(first)
            self.objects.pop(first, None)
        failed = {
            r.sop_instance: NO_SUCH_OBJECT
            for r in request.references
            if r.sop_instance not in self.objects
        }
        if manner == "failing" and first not in self._failed:
            self._failed.add(first)
            failed[first] = _PASSES
        if manner == "unknown":
            self._say(manner, *report_data_set(new_transaction_uid(), request.references, {}))
        for _ in range(2 if manner == "twice" else 1):
            self._say(manner, *report_data_set(request.transaction_uid, request.references, failed))

    def _say(self, manner: Manner, event_type: int, ds: Dataset) -> None:
        """Report over an association of its own, for as long as the node does not listen."""
        for _ in range(40):
            ae = AE("MOODY")
            ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
            ae.add_requested_context(StorageCommitmentPushModel, list(_SYNTAXES))
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            peer = ae.associate(
                "127.0.0.1", self.report_to, ae_title=servers.NODE_AET, ext_neg=[role]
            )
            if peer.is_established:
                status = -1
                with suppress(Exception):  # the node may be killed at any moment
                    answer, _ = peer.send_n_event_report(
                        ds,
                        event_type,
                        StorageCommitmentPushModel,
                        StorageCommitmentPushModelInstance,
                    )
                    status = int(answer.get("Status", -1))
                    peer.release()
                if status >= 0:
                    self.taken.setdefault(manner, []).append(status)
                    return
            time.sleep(0.5)
