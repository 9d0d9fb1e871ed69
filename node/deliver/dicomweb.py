"""`kind = "dicomweb"`: STOW-RS with the files' own bytes, verification by QIDO-RS."""

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
from node.deliver.dicom_json import first_text
from node.deliver.http_request import IDENTITY, AnswerRefused, ask, limit_s
from node.deliver.offers import EchoAnswer, Offer, all_unknown
from node.deliver.port import (
    NO_ANSWER,
    Outcome,
    QueryUnanswered,
    QueryUnsupported,
    ResultFile,
    StorageCheck,
    all_alike,
)
from node.deliver.stow import (
    BOUNDARY,
    ONE_IS_MEANT,
    REMEDIES,
    asked_wait_s,
    judge_response,
    multipart,
)
from node.errors import PeerUnreachable, SecretUnusable, TlsError
from node.tls.credentials import Credentials
from node.tls.faults import handshake_fault

_SOP_INSTANCE, _SERIES, _RELATED = "00080018", "0020000E", "00201209"
_STUDIES: Final = "studies"
_FIRST: Final = MappingProxyType({"limit": "1"})
_JSON: Final = {"Accept": "application/dicom+json"}
OK, NO_CONTENT, NOT_FOUND = 200, 204, 404
_NOT_OFFERED: Final = frozenset({405, 501})
"""HTTP codes by which a server says that it has no QIDO-RS at all."""

_AWAY: Final = frozenset({502, 503, 504})
"""HTTP codes of a gateway whose server does not respond, and of one that is starting."""
PROBE_S: Final = 10.0
"""Longest time for the answer to a probe."""


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
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        headers = {"Content-Type": kind, **_JSON}
        try:
            body = multipart(files)
            with self.client() as client:
                within_s = limit_s(self.timeout_s, len(body))
                url = f"{self.url}/{_STUDIES}"
                answer = ask(client, "POST", url, within_s, content=body, headers=headers)
        except FAULTS as error:
            if isinstance(error, _CUT_OFF) and len(files) > 1:
                return self._one_by_one(files)
            return all_alike(files, "transient", self.fault_text(error), NO_ANSWER)
        if answer.status_code in ONE_IS_MEANT and len(files) > 1:
            return self._one_by_one(files)
        judged = judge_response(files, answer, self.shown)
        # Nothing is negotiated: a server that refuses a compressed object may take it uncompressed.
        return tuple(
            self.send([file.plain])[0] if file.plain and o.disposition == "permanent" else o
            for file, o in zip(files, judged, strict=True)
        )

    def _one_by_one(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Send each by itself: one of them is meant, and the others shall arrive."""
        outcomes: list[Outcome] = []
        for number, file in enumerate(files, start=1):
            outcomes += self.send([file])
            if outcomes[-1].status == NO_ANSWER and not self.probe():
                text = f"not sent: {self.shown} did not respond before"
                return (*outcomes, *all_alike(files[number:], "transient", text, NO_ANSWER))
        return tuple(outcomes)

    def verify_stored(self, files: Sequence[ResultFile]) -> StorageCheck:
        """Ask by QIDO-RS for every object."""
        if not self.verify_by_query:
            return StorageCheck("unsupported", 'proof = "none"')
        try:
            with self.client() as client:
                missing = tuple(p.name for p in files if not self._holds(client, p))
        except QueryUnsupported as error:
            return StorageCheck("unsupported", f"{self.shown} {error}")
        except QueryUnanswered as error:
            return StorageCheck("unknown", f"{self.shown} {error}", wait_s=error.wait_s)
        except FAULTS as error:
            return StorageCheck("unknown", self.fault_text(error), status=NO_ANSWER)
        if missing:
            return StorageCheck(
                "missing", f"QIDO-RS: {self.shown} does not find {', '.join(missing)}", missing
            )
        return StorageCheck("stored", f"QIDO-RS: {self.shown} holds {len(files)} objects")

    def _holds(self, client: httpx.Client, file: ResultFile) -> bool:
        path = f"studies/{file.study}/instances"
        matches = self.matches(client, path, SOPInstanceUID=file.sop_instance)
        return file.sop_instance in {first_text(item, _SOP_INSTANCE) for item in matches}

    def count(self, study: str, series: str) -> int | None:
        """Ask by QIDO-RS for Number of Series Related Instances, else count the instances."""
        try:
            with self.client() as client:
                matches = self.matches(
                    client,
                    f"studies/{study}/series",
                    SeriesInstanceUID=series,
                    includefield=_RELATED,
                )
                named = [item for item in matches if first_text(item, _SERIES) == series]
                number = next(
                    (t for t in (first_text(i, _RELATED) for i in named) if t.isdigit()), ""
                )
                if number or not matches:
                    return int(number or 0)
                path = f"studies/{study}/series/{series}/instances"
                images = self.matches(client, path)
                return len({first_text(item, _SOP_INSTANCE) for item in images} - {""})
        except (QueryUnsupported, QueryUnanswered, *FAULTS):
            return None

    def matches(
        self, client: httpx.Client, path: str, **keys: str | list[str]
    ) -> list[Mapping[str, Any]]:
        """What a query finds. Raises `QueryUnsupported`, `QueryUnanswered` and what is in `FAULTS`."""
        answer = self._get(client, path, keys)
        code = answer.status_code
        if code == NOT_FOUND and path != _STUDIES:
            # Some servers say so of a study that they do not have, others of a service that they do not have.
            self.matches(client, _STUDIES, limit="1")
            return []
        if code in {NOT_FOUND, *_NOT_OFFERED}:
            raise QueryUnsupported(
                f"does not support QIDO-RS (HTTP {code}); storage cannot be verified"
            )
        if code == NO_CONTENT:
            return []
        if code != OK:
            text = f"answers QIDO-RS with HTTP {code}{REMEDIES.get(code, '')}"
            raise QueryUnanswered(text, asked_wait_s(answer))
        return _listed(answer)

    def _get(
        self,
        client: httpx.Client,
        path: str,
        keys: Mapping[str, str | list[str]],
        timeout_s: float = 0.0,
    ) -> httpx.Response:
        """Return the answer to a query. timeout_s: less than the usual one. Raises what is in `FAULTS`."""
        longest_s = timeout_s or self.timeout_s
        return ask(
            client, "GET", f"{self.url}/{path}", limit_s(longest_s), params=keys, headers=_JSON,
            timeout=longest_s,
        )  # fmt: skip

    def probe(self) -> bool:
        """Ask for at most one study; any answer but that of a gateway without its server is one."""
        try:
            with self.client() as client:
                quick_s = min(self.timeout_s, PROBE_S)
                code = self._get(client, _STUDIES, _FIRST, quick_s).status_code
        except FAULTS:
            return False
        return code not in _AWAY

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Query for at most one study; whether objects are taken, only sending one shows (PS3.18 10.5)."""
        try:
            with self.client() as client:
                answer = self._get(client, _STUDIES, _FIRST)
        except FAULTS as error:
            raise PeerUnreachable(f"destination {self.name}: {self.fault_text(error)}") from None
        if answer.status_code >= 300:
            raise PeerUnreachable(
                f"destination {self.name}: {self.shown} returned HTTP {answer.status_code}; "
                "check URL and credentials"
            )
        text = f"{self.shown} answers QIDO-RS (STOW-RS is not tested)"
        return EchoAnswer(text, all_unknown(offers))

    @property
    def shown(self) -> str:
        """Return the address without secrets."""
        return masked(self.url)

    def client(self) -> httpx.Client:
        """Return a client with time limit, credentials and login. Raises what is in `FAULTS`."""
        return httpx.Client(**self.options())

    def options(self) -> dict[str, Any]:
        """Return what a client is made with: time limit, credentials and login. Raises what is in `FAULTS`."""
        rights = (
            {"Authorization": read_secret(self.authorization_file)}
            if self.authorization_file
            else {}
        )
        # No proxy of the environment: a PACS address means what it says.
        verify = True if self.credentials is None else self.credentials.context("https")
        return {
            "timeout": self.timeout_s, "headers": IDENTITY | rights, "trust_env": False, "verify": verify,
        }  # fmt: skip

    def fault_text(self, error: Exception) -> str:
        """Say in one sentence what is in the way; never the text of an error that quotes a header or the URL."""
        if isinstance(error, OSError):
            return f"{error.filename}: {error.strerror}; check the file"
        if isinstance(error, SecretUnusable):
            return f"authorization_file {error}"
        if isinstance(error, TlsError):
            return str(error)
        if isinstance(error, AnswerRefused):
            return f"{self.shown} {error}; look into its log, and what is between"
        if fault := _tls_fault(error):
            return f"{self.shown} and the node agree on no TLS connection: {fault}; check [tls] and its certificate"
        quotes = isinstance(error, httpx.ProtocolError | httpx.InvalidURL)
        reason = type(error).__name__ if quotes else str(error) or type(error).__name__
        return f"{self.shown} does not respond ({masked(reason)}); check that it is running, its host and port"


_CUT_OFF: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""The server ended the connection inside the request: some do so instead of refusing a large object."""

FAULTS: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, SecretUnusable, TlsError)
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
