"""WADO-RS of what was sent, object by object (PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from node.accept.retrieve import SIZE_LIMIT, Fetched, Progress, Wanted
from node.deliver.dicomweb import FAULTS, DicomwebServer

_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_NOT_OFFERED: Final = frozenset({405, 406, 501})


@dataclass(frozen=True, slots=True)
class WadoRetriever:
    """Asks a DICOMweb server by WADO-RS."""

    server: DicomwebServer

    def fetch(self, wanted: Sequence[Wanted], folder: Path, progress: Progress) -> Fetched:
        """Get every object in the encoding in which the server keeps it."""
        files: dict[str, Path] = {}
        size = 0
        try:
            with self.server.client() as client:
                for number, one in enumerate(wanted, 1):
                    path = f"studies/{one.study}/series/{one.series}/instances/{one.sop_instance}"
                    answer = client.get(f"{self.server.url}/{path}", headers={"Accept": _ACCEPT})
                    content = dicom_part(answer)
                    if content is None:
                        return _refused(answer, files, len(wanted))
                    size += len(content)
                    if size > SIZE_LIMIT:
                        return Fetched("WADO-RS", files, "the server sends more than was stored")
                    files[one.sop_instance] = folder / f"{number:05d}.dcm"
                    files[one.sop_instance].write_bytes(content)
                    progress(number, len(wanted))
        except FAULTS as error:
            return Fetched("WADO-RS", files, self.server.fault_text(error))
        return Fetched("WADO-RS", files)


def _refused(answer: httpx.Response, files: dict[str, Path], count: int) -> Fetched:
    code = answer.status_code
    text = f"WADO-RS is answered with HTTP {code} after {len(files)} of {count} objects"
    return Fetched("WADO-RS", files, text, offered=bool(files) or code not in _NOT_OFFERED)


def dicom_part(answer: httpx.Response) -> bytes | None:
    """Return the DICOM file of an answer, multipart or not; None where there is none."""
    if answer.status_code != 200:
        return None
    kind, _, rest = answer.headers.get("Content-Type", "").partition(";")
    if kind.strip().lower() == "application/dicom":
        return answer.content
    boundary = _boundary(rest)
    if kind.strip().lower() != "multipart/related" or not boundary:
        return None
    head, separator, content = answer.content.partition(b"\r\n\r\n")
    if not separator or b"--" + boundary not in head:
        return None
    return content.rpartition(b"\r\n--" + boundary)[0] or None


def _boundary(parameters: str) -> bytes:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "boundary":
            return value.strip('"').encode("latin-1", "replace")
    return b""
