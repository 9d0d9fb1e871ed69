"""C-GET of what was sent, series by series (PS3.4 C.4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import build_context, build_role, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
)

from node.accept.retrieve import SIZE_LIMIT, Fetched, Progress, Wanted
from node.deliver.dicom_association import Caller, NoAssociation

GET: Final = StudyRootQueryRetrieveInformationModelGet
SYNTAXES: Final = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless,
)  # fmt: skip
"""Encodings that keep every value; an archive that stored with loss has to decode, which the pixels then show."""
_SUCCESS, _OUT_OF_RESOURCES, _NOT_EXPECTED = 0x0000, 0xA700, 0xA900
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_WARNING: Final = 0xB000


@dataclass(slots=True)
class _Inbox:
    """Takes the objects that are wanted, and no others."""

    wanted: frozenset[str]
    total: int
    folder: Path
    progress: Progress
    files: dict[str, Path] = field(default_factory=dict)
    size: int = 0

    def store(self, event: evt.Event) -> int:
        """Write one object as it comes; returns the status of C-STORE."""
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        if uid not in self.wanted:
            return _NOT_EXPECTED
        content = event.encoded_dataset()
        self.size += len(content)
        if self.size > SIZE_LIMIT:
            return _OUT_OF_RESOURCES
        path = self.folder / f"{len(self.files) + 1:05d}.dcm"
        path.write_bytes(content)
        self.files[uid] = path
        self.progress(len(self.files), self.total)
        return _SUCCESS


@dataclass(frozen=True, slots=True)
class GetRetriever:
    """Asks a PACS by C-GET."""

    caller: Caller

    def fetch(self, wanted: Sequence[Wanted], folder: Path, progress: Progress) -> Fetched:
        """Get every series over one association; what came before a fault is kept."""
        classes = dict.fromkeys(w.sop_class for w in wanted)
        contexts = [build_context(GET), *(_storage(c) for c in classes)]
        roles = [build_role(c, scp_role=True) for c in classes]
        uids = frozenset(w.sop_instance for w in wanted)
        inbox = _Inbox(uids, len(uids), folder, progress)
        try:
            with self.caller.associated(contexts, roles) as peer:
                if GET not in {c.abstract_syntax for c in peer.accepted_contexts}:
                    text = f"{self.caller.address} does not support C-GET"
                    return Fetched("C-GET", {}, text, offered=False)
                peer.bind(evt.EVT_C_STORE, inbox.store)
                faults = [
                    _get(peer, study, series)
                    for study, series in dict.fromkeys((w.study, w.series) for w in wanted)
                ]
        except NoAssociation as error:
            return Fetched("C-GET", inbox.files, str(error))
        fault = next((f"{self.caller.address} {f}" for f in faults if f), "")
        return Fetched("C-GET", inbox.files, fault)


def _storage(sop_class: str) -> PresentationContext:
    return build_context(sop_class, list(SYNTAXES))


def _get(peer: object, study: str, series: str) -> str:
    """Get one series; returns "" or what was wrong."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID, query.SeriesInstanceUID = study, series
    if not peer.is_established:  # type: ignore[attr-defined]
        return "ended the association"
    for answer, _ in peer.send_c_get(query, GET):  # type: ignore[attr-defined]
        if "Status" not in answer:
            return "does not answer C-GET in time"
        status = int(answer.Status)
        if status in _PENDING:
            continue
        failed = int(answer.get("NumberOfFailedSuboperations", 0) or 0)
        if failed or status not in {_SUCCESS, _WARNING}:
            return f"answers C-GET with 0x{status:04X}, {failed} objects failed"
        return ""
    return "does not end its answer to C-GET"
