"""Receive: C-STORE → durable bytes → journal → success, in this order; C-ECHO.

pynetdicom with the guards it lacks: reads that stall inside a PDU end, PDUs have a largest size, the
disk refuses associations before it refuses objects. Nothing here looks at pixels.
"""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from socketserver import BaseServer
from typing import Any, Final, cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from dicomseg.errors import LumbarError
from node import content, wire
from node.admission import MB, DiskGate, called_allowed, calling_allowed, peer_allowed
from node.config import ReceiveConfig
from node.content import Received
from node.errors import PortBusy
from node.events import (
    AssociationEnded,
    AssociationRefused,
    EventLog,
    ObjectQuarantined,
    ObjectRefused,
)
from node.instance_table import CONFLICT
from node.journal import Journal
from node.records import InstanceFacts
from node.spool import Spool, Stored, digest_of, file_meta

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
FIRST_WORD_S: Final = 10.0
"""Time for a new connection to say who it is; silent ones would fill `max_associations`."""

VERIFICATION: Final = "1.2.840.10008.1.1"


@dataclass(slots=True)
class _Count:
    stored: int = 0
    same: int = 0


@dataclass(slots=True)
class Receiver:
    """The listener. `free_bytes` tells the free space of the state folder's disk."""

    config: ReceiveConfig
    ae_title: str
    host: str
    port: int
    spool: Spool
    journal: Journal
    log: EventLog
    free_bytes: Callable[[], int]
    _gate: DiskGate = field(init=False)
    _server: wire.Server | None = None
    _ae: AE | None = None
    _counts: dict[int, _Count] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gate = DiskGate(self.config.disk_low_mb * MB, self.config.disk_high_mb * MB)

    def start(self) -> int:
        """Listen; returns the port. Raises `PortBusy`."""
        _config.LOG_HANDLER_LEVEL = "none"
        ae = AE(ae_title=self.ae_title)
        ae.maximum_pdu_size = wire.MAX_PDU
        ae.maximum_associations = self.config.max_associations
        ae.network_timeout = ae.dimse_timeout = self.config.idle_seconds
        ae.acse_timeout = min(FIRST_WORD_S, self.config.idle_seconds)
        syntaxes = [UID(s) for s in wire.TRANSFER_SYNTAXES]
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(cast("str", context.abstract_syntax), syntaxes)
        ae.add_supported_context(VERIFICATION)
        server_class = type("Server", (wire.Server,), {"idle_s": self.config.idle_seconds})
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_RELEASED, self._ended, ["released"]),
            (evt.EVT_ABORTED, self._ended, ["aborted"]),
            (evt.EVT_CONN_CLOSE, self._ended, ["closed"]),
        ]
        try:
            server = ae.make_server(
                (self.host, self.port), evt_handlers=handlers, server_class=server_class
            )
        except OSError as error:
            raise PortBusy(
                f"cannot listen on {self.host}:{self.port}: {error.strerror}; stop the program that holds it or set another [node] port"
            ) from error
        ae._servers.append(server)  # noqa: SLF001 - AE.shutdown() takes its servers from there
        self._ae, self._server = ae, cast("wire.Server", server)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="listener", daemon=True
        ).start()
        return int(server.server_address[1])

    def stop(self, timeout_s: float) -> int:
        """Take no new connections, let open ones end within the time limit, abort the rest; returns how many."""
        if self._server is None or self._ae is None:
            return 0
        BaseServer.shutdown(self._server)
        self._server.server_close()
        waiting = threading.Event()
        for _ in range(int(timeout_s * 10)):
            if not self._server.active_associations:
                break
            waiting.wait(0.1)
        left = len(self._server.active_associations)
        self._ae.shutdown()
        return left

    # ---- events of one association ----

    def _opened(self, event: Any) -> None:
        address = str(event.address[0])
        if not peer_allowed(address, self.config.peers):
            self.log.event(AssociationRefused(address, "address not in [receive] peers"))
            event.assoc.dul.socket.close()
            return
        wire.guard(event, self.config.max_object_mb * MB)

    def _requested(self, event: evt.Event) -> None:
        request: Any = event.assoc.requestor.primitive
        calling, called = str(request.calling_ae_title), str(request.called_ae_title)
        self._gate = self._gate.seen(self.free_bytes())
        reason, answer = "", (1, 1, 1)
        if not called_allowed(called, self.ae_title, self.config.called_ae_titles):
            reason, answer = f"called AE title {called.strip()!r} is not ours", (1, 1, 7)
        elif not calling_allowed(calling, self.config.calling_ae_titles):
            reason, answer = (
                f"calling AE title {calling.strip()!r} is not in [receive] calling_ae_titles",
                (1, 1, 3),
            )
        elif self._gate.closed:
            reason, answer = (
                f"less than {self.config.disk_low_mb} MB free on the disk of [node] state",
                (2, 3, 2),
            )
        if reason:
            self.log.event(AssociationRefused(str(event.assoc.requestor.address), reason))
            event.assoc.acse.send_reject(*answer)
            event.assoc.kill()
            return
        self._counts[id(event.assoc)] = _Count()

    def _ended(self, event: evt.Event, outcome: str) -> None:
        count = self._counts.pop(id(event.assoc), None)
        if count is not None:
            peer = event.assoc.requestor
            calling = str(peer.ae_title).strip()
            self.log.event(
                AssociationEnded(str(peer.address), calling, count.stored, count.same, outcome)
            )
        self.journal.close()

    def _store(self, event: evt.Event) -> Dataset | int:
        """Answer one C-STORE; a fault of ours is never "permanent", so that the sender keeps its copy."""
        try:
            return self._keep(event)
        except OSError as error:
            return self._refused(f"{error.strerror or error}")
        except LumbarError as error:
            return self._refused(str(error))
        except Exception as error:  # noqa: BLE001 - any other answer tells the sender to give up
            # Its text might quote the data set; where it happened tells enough.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return self._refused(f"{type(error).__name__} in {frame.name}, line {frame.lineno}")
        finally:
            wire.message_done(event)

    def _echo(self, event: evt.Event) -> int:
        wire.message_done(event)
        return SUCCESS

    def _refused(self, reason: str) -> Dataset:
        status = Dataset()
        status.Status = OUT_OF_RESOURCES
        status.ErrorComment = reason[:64]
        self.log.event(ObjectRefused(reason, "0xA700"))
        return status

    def _keep(self, event: evt.Event) -> Dataset | int:
        got = _received(event)
        if len(got.data) > self.config.max_object_mb * MB:
            limit = self.config.max_object_mb
            return self._refused(
                f"object of {len(got.data) // MB} MB, [receive] max_object_mb is {limit}"
            )
        told = content.identifiers(got.stream, got.transfer_syntax)
        reason = content.why_unusable(told, got.sop_instance)
        if reason:
            return self._quarantine(got, told, reason)
        known = self.journal.stored_digest(got.sop_instance)
        if known is not None and known[0] != got.digest:
            if content.same_content(known[1], got.meta, got.data):
                self._tally(event, "same")
                return SUCCESS
            return self._quarantine(got, told, CONFLICT)
        stored = self.spool.put(got.meta, got.data, got.digest)
        added = self.journal.add_instance(_facts(got, told, stored))
        if added == "conflict":  # two associations at once, each with other bytes
            self._alarm(got, CONFLICT, stored)
        self._tally(event, added)
        return SUCCESS

    def _tally(self, event: evt.Event, added: str) -> None:
        count = self._counts.get(id(event.assoc))
        if count is not None:
            count.stored += added == "stored"
            count.same += added == "same"

    def _quarantine(self, got: Received, told: dict[str, str], reason: str) -> int:
        stored = self.spool.quarantine(got.meta, got.data, got.digest)
        self.journal.quarantine(_facts(got, told, stored), reason)
        self._alarm(got, reason, stored)
        return SUCCESS

    def _alarm(self, got: Received, reason: str, stored: Stored) -> None:
        uid = got.sop_instance if content.is_uid(got.sop_instance) else ""
        self.log.event(ObjectQuarantined(uid, reason, str(stored.path)))


def _received(event: evt.Event) -> Received:
    request: Any = event.request
    stream = cast("BytesIO", request.DataSet)
    data = stream.getbuffer()
    sop_class, sop_instance = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    syntax = str(event.context.transfer_syntax)
    calling = str(event.assoc.requestor.ae_title).strip()
    meta = file_meta(sop_class, sop_instance, syntax, calling)
    return Received(meta, data, stream, digest_of(data), sop_class, sop_instance, syntax, calling)


def _facts(got: Received, told: dict[str, str], stored: Stored) -> InstanceFacts:
    return InstanceFacts(
        got.sop_instance,
        got.sop_class,
        told["StudyInstanceUID"],
        told["SeriesInstanceUID"],
        got.digest,
        got.transfer_syntax,
        stored.path,
        stored.bytes,
        got.calling_ae,
    )


def free_bytes(state: Path) -> int:
    """Free space for ordinary users on the disk of the state folder."""
    return shutil.disk_usage(state).free
