"""`kind = "dicomweb"`: STOW-RS with the files' own bytes, proof by QIDO-RS.

The answer's body decides, never the HTTP code alone (PS3.18 10.5.3): a server may answer 200 or 202
and still have refused some objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from node.config import DicomwebDestination
from node.destination_dicom import judge_status
from node.destinations import Answer, Outcome, Parcel, PeerUnreachable, Proof, all_alike

_BOUNDARY: Final = "lumbar-node-part-7f1c9b52e0"
_REFERENCED, _FAILED, _REASON, _INSTANCE, _WARNING = (
    "00081199",
    "00081198",
    "00081197",
    "00081155",
    "00081196",
)
_BODY_DECIDES: Final = frozenset({200, 202, 409})
_OBJECT_REFUSED: Final = frozenset({400, 413, 415, 422})
"""HTTP codes that speak of the objects; every other failure is one of server, way or rights."""


@dataclass(frozen=True, slots=True)
class DicomwebServer:
    """A server that takes STOW-RS. Times in seconds."""

    name: str
    url: str
    timeout_s: float
    authorization_file: str = ""
    prove_by_query: bool = True

    @classmethod
    def of(cls, config: DicomwebDestination) -> DicomwebServer:
        """Make it from its section."""
        return cls(
            config.name,
            config.url.rstrip("/"),
            config.timeout_seconds,
            config.authorization_file,
            config.prove,
        )

    def send(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Store all objects in one request; an outcome each from the answer's body."""
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        try:
            with self._client() as client:
                answer = client.post(
                    f"{self.url}/studies", content=_multipart(parcels), headers=headers
                )
        except (httpx.HTTPError, OSError) as error:
            return all_alike(parcels, "transient", self._unreachable(error), "no answer")
        return _outcomes(parcels, answer)

    def prove(self, parcels: Sequence[Parcel]) -> Proof:
        """Ask by QIDO-RS for every object."""
        if not self.prove_by_query:
            return Proof("not_offered", "prove = false")
        missing = []
        try:
            with self._client() as client:
                for parcel in parcels:
                    answer = client.get(
                        f"{self.url}/studies/{parcel.study}/instances",
                        params={"SOPInstanceUID": parcel.sop_instance},
                        headers={"Accept": "application/dicom+json"},
                    )
                    if answer.status_code not in {200, 204, 404}:
                        return Proof("not_offered", f"QIDO-RS answers HTTP {answer.status_code}")
                    if not _holds(answer, parcel):
                        missing.append(parcel.file)
        except (httpx.HTTPError, OSError) as error:
            return Proof("missing", self._unreachable(error))
        if missing:
            return Proof("missing", f"{self.url} does not find {', '.join(missing)}")
        return Proof("found", f"QIDO-RS: {self.url} holds {len(parcels)} objects")

    def reach(self) -> str:
        """Query for at most one study."""
        try:
            with self._client() as client:
                answer = client.get(
                    f"{self.url}/studies",
                    params={"limit": "1"},
                    headers={"Accept": "application/dicom+json"},
                )
        except (httpx.HTTPError, OSError) as error:
            raise PeerUnreachable(f"destination {self.name}: {self._unreachable(error)}") from error
        if answer.status_code >= 400:
            raise PeerUnreachable(
                f"destination {self.name}: {self.url} answers HTTP {answer.status_code}; "
                "check address and rights"
            )
        return f"{self.url} answers QIDO-RS"

    def _client(self) -> httpx.Client:
        headers = {}
        if self.authorization_file:
            headers["Authorization"] = Path(self.authorization_file).read_text("utf-8").strip()
        # No proxy of the surroundings: a PACS address means what it says.
        return httpx.Client(timeout=self.timeout_s, headers=headers, trust_env=False)

    def _unreachable(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"{error.filename}: {error.strerror}; check authorization_file"
        reason = str(error) or type(error).__name__
        return f"{self.url} does not answer ({reason}); check that it runs, its address and port"


def _multipart(parcels: Sequence[Parcel]) -> bytes:
    parts = [
        f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        + p.path.read_bytes()
        + b"\r\n"
        for p in parcels
    ]
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


def _outcomes(parcels: Sequence[Parcel], answer: httpx.Response) -> tuple[Outcome, ...]:
    status = f"HTTP {answer.status_code}"
    if answer.status_code not in _BODY_DECIDES:
        verdict: Answer = "permanent" if answer.status_code in _OBJECT_REFUSED else "transient"
        return all_alike(parcels, verdict, f"the server answers {status}", status)
    try:
        body = answer.json()
        held = {_text(item, _INSTANCE) for item in _items(body, _REFERENCED)}
        failed = {
            _text(item, _INSTANCE): int(_text(item, _REASON) or 0) for item in _items(body, _FAILED)
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return all_alike(parcels, "transient", "the answer's body cannot be read", status)
    return tuple(_outcome(p, held, failed, status) for p in parcels)


def _outcome(parcel: Parcel, held: set[str], failed: Mapping[str, int], status: str) -> Outcome:
    if parcel.sop_instance in failed:
        reason = failed[parcel.sop_instance]
        text = f"refused with failure reason 0x{reason:04X}"
        return Outcome(
            parcel.file, judge_status(reason) if reason else "permanent", text, f"0x{reason:04X}"
        )
    if parcel.sop_instance in held:
        return Outcome(parcel.file, "accepted", "", status)
    return Outcome(parcel.file, "transient", "the answer does not name the object", status)


def _items(body: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    return list(body.get(tag, {}).get("Value", []))


def _text(item: Mapping[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""


def _holds(answer: httpx.Response, parcel: Parcel) -> bool:
    if answer.status_code != 200:
        return False
    try:
        found = answer.json()
        return any(_text(item, "00080018") == parcel.sop_instance for item in found)
    except (ValueError, TypeError, AttributeError):
        return False
