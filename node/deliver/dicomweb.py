"""`kind = "dicomweb"`: STOW-RS with the files' own bytes, verification by QIDO-RS.

The answer's body decides, never the HTTP code alone (PS3.18 10.5.3): a server may answer 200 or 202
and still have refused some objects.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import httpx

from node.config.destinations import DicomwebDestination
from node.config.secret_files import read_secret
from node.config.words import masked
from node.deliver.offers import EchoAnswer, Offer, all_unknown
from node.deliver.port import (
    NO_ANSWER,
    Disposition,
    Outcome,
    QueryUnanswered,
    QueryUnsupported,
    ResultFile,
    StorageCheck,
    all_alike,
)
from node.deliver.status import judge_status
from node.errors import PeerUnreachable, SecretUnusable, TlsError
from node.tls.credentials import Credentials
from node.tls.faults import handshake_fault

_BOUNDARY: Final = "lumbar-node-part-7f1c9b52e0"
_REFERENCED, _FAILED, _REASON, _INSTANCE = "00081199", "00081198", "00081197", "00081155"
_SOP_INSTANCE, _SERIES, _RELATED = "00080018", "0020000E", "00201209"
_STUDIES: Final = "studies"
_JSON: Final = {"Accept": "application/dicom+json"}
OK, NO_CONTENT, NOT_FOUND = 200, 204, 404
_NOT_OFFERED: Final = frozenset({405, 501})
"""HTTP codes by which a server says that it has no QIDO-RS at all."""

_RIGHTS: Final = "; check authorization_file and its permissions on the server"
_REMEDIES: Final = MappingProxyType({401: _RIGHTS, 403: _RIGHTS, 404: "; check the URL"})
_AWAY: Final = frozenset({502, 503, 504})
"""HTTP codes of a gateway whose server does not respond, and of one that is starting."""
PROBE_S: Final = 10.0
"""Longest time for the answer to a probe."""
_BODY_DECIDES: Final = frozenset({200, 202, 409})
_OBJECT_REFUSED: Final = frozenset({400, 413, 415, 422})
"""HTTP codes that concern the objects; every other failure concerns the server, the route or permissions."""
_ONE_IS_MEANT: Final = _OBJECT_REFUSED | {500}
"""HTTP codes after which each object is sent by itself: some servers fail altogether at one that they cannot read."""


@dataclass(frozen=True, slots=True)
class DicomwebServer:
    """A server that takes STOW-RS. Times in seconds. credentials: for https; None trusts public authorities."""

    name: str
    url: str
    timeout_s: float
    authorization_file: str = ""
    verify_by_query: bool = True
    credentials: Credentials | None = None

    @classmethod
    def of(
        cls, config: DicomwebDestination, credentials: Credentials | None = None
    ) -> DicomwebServer:
        """Make it from its section."""
        private = config.is_https and credentials is not None and bool(credentials.config.trusted)
        return cls(
            config.name,
            config.url.rstrip("/"),
            config.timeout_seconds,
            config.authorization_file,
            config.proof != "none",
            credentials if private else None,
        )

    def send(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Store all objects in one request, one by one where that is refused; an outcome each."""
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
        headers = {"Content-Type": kind, **_JSON}
        try:
            with self._client() as client:
                answer = client.post(
                    f"{self.url}/studies", content=_multipart(files), headers=headers
                )
        except _FAULTS as error:
            if isinstance(error, _CUT_OFF) and len(files) > 1:
                return self._one_by_one(files)
            return all_alike(files, "transient", self._unreachable(error), NO_ANSWER)
        if answer.status_code in _ONE_IS_MEANT and len(files) > 1:
            return self._one_by_one(files)
        outcomes = _outcomes(files, answer, self._shown)
        # Nothing is negotiated: a server that refuses a compressed object may take it uncompressed.
        return tuple(
            self.send([file.plain])[0] if file.plain and o.disposition == "permanent" else o
            for file, o in zip(files, outcomes, strict=True)
        )

    def _one_by_one(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Send each by itself: one of them is meant, and the others shall arrive."""
        outcomes: list[Outcome] = []
        for number, file in enumerate(files, start=1):
            outcomes += self.send([file])
            if outcomes[-1].status == NO_ANSWER and not self.probe():
                text = f"not sent: {self._shown} did not respond before"
                return (*outcomes, *all_alike(files[number:], "transient", text, NO_ANSWER))
        return tuple(outcomes)

    def verify_stored(self, files: Sequence[ResultFile]) -> StorageCheck:
        """Ask by QIDO-RS for every object."""
        if not self.verify_by_query:
            return StorageCheck("unsupported", 'proof = "none"')
        try:
            with self._client() as client:
                missing = tuple(p.name for p in files if not self._holds(client, p))
        except QueryUnsupported as error:
            return StorageCheck("unsupported", f"{self._shown} {error}")
        except QueryUnanswered as error:
            return StorageCheck("unknown", f"{self._shown} {error}")
        except _FAULTS as error:
            return StorageCheck("unknown", self._unreachable(error), status=NO_ANSWER)
        if missing:
            return StorageCheck(
                "missing", f"QIDO-RS: {self._shown} does not find {', '.join(missing)}", missing
            )
        return StorageCheck("stored", f"QIDO-RS: {self._shown} holds {len(files)} objects")

    def _holds(self, client: httpx.Client, file: ResultFile) -> bool:
        path = f"studies/{file.study}/instances"
        matches = self._matches(client, path, SOPInstanceUID=file.sop_instance)
        return file.sop_instance in {_text(item, _SOP_INSTANCE) for item in matches}

    def count(self, study: str, series: str) -> int | None:
        """Ask by QIDO-RS for Number of Series Related Instances, else count the instances."""
        try:
            with self._client() as client:
                matches = self._matches(
                    client,
                    f"studies/{study}/series",
                    SeriesInstanceUID=series,
                    includefield=_RELATED,
                )
                named = [item for item in matches if _text(item, _SERIES) == series]
                number = next((t for t in (_text(i, _RELATED) for i in named) if t.isdigit()), "")
                if number or not matches:
                    return int(number or 0)
                path = f"studies/{study}/series/{series}/instances"
                images = self._matches(client, path)
                return len({_text(item, _SOP_INSTANCE) for item in images} - {""})
        except (QueryUnsupported, QueryUnanswered, *_FAULTS):
            return None

    def _matches(self, client: httpx.Client, path: str, **keys: str) -> list[Mapping[str, Any]]:
        """What a query finds. Raises `QueryUnsupported`, `QueryUnanswered` and what is in `_FAULTS`."""
        answer = client.get(f"{self.url}/{path}", params=keys, headers=_JSON)
        code = answer.status_code
        if code == NOT_FOUND and path != _STUDIES:
            # Some servers say so of a study that they do not have, others of a service that they do not have.
            self._matches(client, _STUDIES, limit="1")
            return []
        if code in {NOT_FOUND, *_NOT_OFFERED}:
            raise QueryUnsupported(
                f"does not support QIDO-RS (HTTP {code}); storage cannot be verified"
            )
        if code == NO_CONTENT:
            return []
        if code != OK:
            raise QueryUnanswered(f"answers QIDO-RS with HTTP {code}{_REMEDIES.get(code, '')}")
        return _listed(answer)

    def probe(self) -> bool:
        """Ask for at most one study; any answer but that of a gateway without its server is one."""
        try:
            with self._client() as client:
                code = client.get(
                    f"{self.url}/{_STUDIES}",
                    params={"limit": "1"},
                    headers=_JSON,
                    timeout=min(self.timeout_s, PROBE_S),
                ).status_code
        except _FAULTS:
            return False
        return code not in _AWAY

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Query for at most one study; whether objects are taken, only sending one shows (PS3.18 10.5)."""
        try:
            with self._client() as client:
                answer = client.get(f"{self.url}/{_STUDIES}", params={"limit": "1"}, headers=_JSON)
        except _FAULTS as error:
            raise PeerUnreachable(f"destination {self.name}: {self._unreachable(error)}") from None
        if answer.status_code >= 300:
            raise PeerUnreachable(
                f"destination {self.name}: {self._shown} returned HTTP {answer.status_code}; "
                "check URL and credentials"
            )
        text = f"{self._shown} answers QIDO-RS (STOW-RS is not tested)"
        return EchoAnswer(text, all_unknown(offers))

    @property
    def _shown(self) -> str:
        return masked(self.url)

    def _client(self) -> httpx.Client:
        headers = (
            {"Authorization": read_secret(self.authorization_file)}
            if self.authorization_file
            else {}
        )
        # No proxy of the environment: a PACS address means what it says.
        verify = True if self.credentials is None else self.credentials.context("https")
        return httpx.Client(timeout=self.timeout_s, headers=headers, trust_env=False, verify=verify)

    def _unreachable(self, error: Exception) -> str:
        """Say in one sentence what is in the way; never the text of an error that quotes a header or the URL."""
        if isinstance(error, OSError):
            return f"{error.filename}: {error.strerror}; check the file"
        if isinstance(error, SecretUnusable):
            return f"authorization_file {error}"
        if isinstance(error, TlsError):
            return str(error)
        if fault := _tls_fault(error):
            return f"{self._shown} and the node agree on no TLS connection: {fault}; check [tls] and its certificate"
        quotes = isinstance(error, httpx.ProtocolError | httpx.InvalidURL)
        reason = type(error).__name__ if quotes else str(error) or type(error).__name__
        return f"{self._shown} does not respond ({masked(reason)}); check that it is running, its host and port"


_CUT_OFF: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""The server ended the connection inside the request: some do so instead of refusing a large object."""

_FAULTS: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, SecretUnusable, TlsError)
"""What a request raises when it brings no answer."""


def _tls_fault(error: BaseException | None) -> str:
    """Return what was wrong with TLS, "" if something else was."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return "" if error is None else handshake_fault(error)


def _listed(answer: httpx.Response) -> list[Mapping[str, Any]]:
    """Items of a QIDO-RS answer. Raises `QueryUnanswered` for anything but a list of objects."""
    try:
        matches = answer.json()
    except ValueError:
        matches = None
    if not isinstance(matches, list) or not all(isinstance(item, dict) for item in matches):
        raise QueryUnanswered("answers QIDO-RS with a body that is not valid DICOM JSON")
    return matches


def _multipart(files: Sequence[ResultFile]) -> bytes:
    parts = [
        f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        + p.path.read_bytes()
        + b"\r\n"
        for p in files
    ]
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


def _outcomes(
    files: Sequence[ResultFile], answer: httpx.Response, shown: str
) -> tuple[Outcome, ...]:
    status = f"HTTP {answer.status_code}"
    if answer.status_code not in _BODY_DECIDES:
        verdict: Disposition = "permanent" if answer.status_code in _OBJECT_REFUSED else "transient"
        remedy = _REMEDIES.get(answer.status_code, "")
        return all_alike(files, verdict, f"{shown} rejected the STOW-RS request{remedy}", status)
    try:
        body = answer.json()
        held = {_text(item, _INSTANCE) for item in _items(body, _REFERENCED)}
        failed = {
            _text(item, _INSTANCE): int(_text(item, _REASON) or 0) for item in _items(body, _FAILED)
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return all_alike(
            files, "transient", "STOW-RS response body is not valid DICOM JSON", status
        )
    return tuple(_outcome(p, held, failed, status) for p in files)


def _outcome(file: ResultFile, held: set[str], failed: Mapping[str, int], status: str) -> Outcome:
    if file.sop_instance in failed:
        reason = failed[file.sop_instance]
        text = f"refused with failure reason 0x{reason:04X}"
        return Outcome(
            file.name, judge_status(reason) if reason else "permanent", text, f"0x{reason:04X}"
        )
    if file.sop_instance in held:
        return Outcome(file.name, "accepted", "", status)
    return Outcome(file.name, "transient", "STOW-RS response does not name the object", status)


def _items(body: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    return list(body.get(tag, {}).get("Value", []))


def _text(item: Mapping[str, Any], tag: str) -> str:
    """First value of an attribute as text, "" where it has none of the right form."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""
