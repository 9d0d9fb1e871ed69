"""A destination that misbehaves as a scenario says: refuses, is slow, cuts, loses, is away."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node.free_ports import free_ports
from tests.fault.destinations import Waits, bound, dicom_section

Mood = Literal["well", "refuses", "slow", "cuts", "loses", "full", "some-full", "silent", "no-find"]
FULL, NEVER = 0xA700, 0xC000


@dataclass
class Moody:
    """A storage and query SCP. mood: what it does now; it may change at any time.

    refuses: rejects associations. slow: answers after the node's time-out. cuts: aborts in the middle of an object.
    loses: takes objects and forgets them. full: 0xA700 to everything; some-full: 0xA700 and 0xC000 beside success.
    silent: answers no query. no-find: answers queries with a failure.
    """

    waits: Waits = field(default_factory=lambda: Waits(timeout=2.0))
    name: str = "moody"
    mood: Mood = "well"
    objects: dict[str, str] = field(default_factory=dict)
    """What it holds: digest of the data set by SOP Instance UID."""
    never: set[str] = field(default_factory=set)
    """SOP classes that it answers with 0xC000 for good."""
    port: int = field(init=False)
    _server: Any = None
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        (self.port,) = free_ports(1)

    @property
    def section(self) -> str:
        return dicom_section(self.name, "MOODY", self.port, self.waits, verify=True)

    def held(self) -> dict[str, str]:
        return dict(self.objects)

    def start(self) -> None:
        """Listen."""
        ae = AE("MOODY")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax or "")
        ae.add_supported_context(Verification)
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            *self.contexts(ae),
        ]
        address = "127.0.0.1", self.port
        self._server = bound(lambda: ae.start_server(address, block=False, evt_handlers=handlers))

    def contexts(self, _: AE) -> list[Any]:
        """Add further contexts, and return their handlers."""
        return []

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            with suppress(OSError):
                self._server.shutdown()
            self._server = None

    def _requested(self, event: evt.Event) -> None:
        if self.mood == "refuses":
            event.assoc.acse.send_reject(0x02, 0x01, 0x01)
            event.assoc.kill()

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            self._count += 1
            number = self._count
        uid, sop_class = (
            str(event.request.AffectedSOPInstanceUID),
            str(event.request.AffectedSOPClassUID),
        )
        if sop_class in self.never:
            return NEVER
        if self.mood == "slow":
            time.sleep(self.waits.timeout + 1)
        if self.mood == "cuts" and number % 3:
            event.assoc.abort()
            return FULL
        if self.mood == "full" or (self.mood == "some-full" and number % 2):
            return FULL
        if self.mood != "loses":
            self.objects[uid] = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        return 0x0000

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        if self.mood == "silent":
            time.sleep(self.waits.timeout + 1)
        if self.mood in {"silent", "no-find"}:
            yield FULL, None
            return
        uid = str(wanted.get("SOPInstanceUID", ""))
        for held in [u for u in list(self.objects) if uid in {"", u}]:
            found = Dataset()
            found.QueryRetrieveLevel = wanted.QueryRetrieveLevel
            found.SOPInstanceUID = held
            for key in ("StudyInstanceUID", "SeriesInstanceUID"):
                setattr(found, key, wanted.get(key, ""))
            yield 0xFF00, found
