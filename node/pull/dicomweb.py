"""`kind = "dicomweb"`: QIDO-RS, and WADO-RS as a stream of parts (PS3.18 10.4 and 10.6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import httpx

from node.config.pull import DicomwebSource
from node.deliver.dicom_json import first_text
from node.deliver.dicomweb import FAULTS, NO_CONTENT, NOT_FOUND, OK, DicomwebServer
from node.deliver.port import QueryUnanswered, QueryUnsupported
from node.pull.choose import is_uid
from node.pull.multipart import Multipart, MultipartError, boundary_of
from node.pull.part10 import HEAD_BYTES, read_head
from node.pull.port import (
    FETCH_S,
    MOST_FOREIGN,
    MOST_INSTANCES,
    MOST_SERIES,
    MOST_STUDIES,
    QUERY_S,
    Declared,
    FoundInstance,
    FoundSeries,
    FoundStudy,
    Keep,
    SourceFault,
    Wanted,
)
from node.tls.credentials import Credentials

_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITIES, _MODALITY, _DESCRIPTION = "00080061", "00080060", "0008103E"
_PROTOCOL, _BODY_PART = "00181030", "00180015"
_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_DICOM: Final = "application/dicom"
PAGE: Final = 100
"""Matches from which on a server may have more than it answers at once: it is asked for the next ones."""


@dataclass(frozen=True, slots=True)
class DicomwebPacs:
    """A server that answers QIDO-RS and WADO-RS."""

    name: str
    server: DicomwebServer
    stopped: Callable[[], bool]

    @classmethod
    def of(
        cls, config: DicomwebSource, credentials: Credentials | None, stopped: Callable[[], bool]
    ) -> DicomwebPacs:
        """Make it from its section."""
        private = config.is_https and credentials is not None and bool(credentials.config.trusted)
        server = DicomwebServer(
            config.name, config.url.rstrip("/"), config.timeout_seconds, config.authorization_file,
            credentials=credentials if private else None,
        )  # fmt: skip
        return cls(config.name, server, stopped)

    @contextmanager
    def asking(self) -> Iterator[WebInquiry]:
        """Open a client for queries."""
        with self._client(QUERY_S) as client:
            yield WebInquiry(self.server, client)

    def fetch(self, wanted: Wanted, keep: Keep) -> str:
        """Retrieve a series, or its objects one by one."""
        base = f"{self.server.url}/studies/{wanted.study}/series/{wanted.series}"
        paths = [base] if wanted.complete else [f"{base}/instances/{i.sop_instance}" for i in wanted.instances]  # fmt: skip
        reason, ends_at = "", time.monotonic() + FETCH_S
        with self._client(FETCH_S) as client:
            for path in paths:
                reason = self._retrieve(client, path, wanted, keep, ends_at) or reason
        return reason

    def echo(self) -> str:
        """Ask for at most one study; whether objects are given shows when one is fetched."""
        with self._client(self.server.timeout_s) as client:
            WebInquiry(self.server, client).probe()
        return f"{self.server.shown} answers QIDO-RS (WADO-RS is not tested)"

    @contextmanager
    def _client(self, limit_s: float) -> Iterator[httpx.Client]:
        """A client that is closed after so many seconds, whatever the server does; faults in words."""
        late = threading.Event()
        try:
            with self.server.client() as client:

                def end() -> None:
                    late.set()
                    client.close()

                timer = threading.Timer(limit_s, end)
                timer.daemon = True
                timer.start()
                try:
                    yield client
                finally:
                    timer.cancel()
        except (*FAULTS, RuntimeError) as error:  # RuntimeError: of a closed client
            if late.is_set():
                raise SourceFault(f"{self.server.shown} was not ready within {limit_s:.0f} s") from None  # fmt: skip
            raise SourceFault(self.server.fault_text(error)) from None

    def _retrieve(
        self, client: httpx.Client, path: str, wanted: Wanted, keep: Keep, ends_at: float
    ) -> str:
        """Keep what one request brings; returns what went wrong with single objects."""
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
        with client.stream("GET", path, headers=headers) as answer:
            code = answer.status_code
            if code in {NOT_FOUND, NO_CONTENT}:
                return f"{self.server.shown} does not have what it listed (HTTP {code})"
            if code != OK:
                raise SourceFault(f"{self.server.shown} answers WADO-RS with HTTP {code}")
            taking = _Taking(wanted, keep)
            try:
                for part in _parts(answer, self._chunks(answer, ends_at)):
                    taking.take(part)
            except (MultipartError, _Foreign) as error:
                return f"{self.server.shown} {error}"
            return taking.refusal

    def _chunks(self, answer: httpx.Response, ends_at: float) -> Iterator[bytes]:
        """Return the body as it comes, no longer than allowed."""
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise MultipartError("compresses its answer though it was asked not to")
        for chunk in answer.iter_raw():
            if self.stopped():
                raise SourceFault("the node stops")
            if time.monotonic() > ends_at:
                raise SourceFault(f"{self.server.shown} was not ready within {FETCH_S:.0f} s")
            yield chunk


class _Foreign(Exception):
    """The server sends what was not asked for: what to say of it."""


@dataclass(slots=True)
class _Taking:
    """Keeps the parts of answers that were asked for."""

    wanted: Wanted
    keep: Keep
    refusal: str = ""
    foreign: int = 0

    def take(self, part: Iterator[bytes]) -> None:
        """Keep one part. Raises `_Foreign` after too many that were not asked for."""
        head = bytearray()
        while len(head) < HEAD_BYTES and (piece := next(part, b"")):
            head += piece
        declared = read_head(bytes(head))
        asked = {i.sop_instance for i in self.wanted.instances}
        if declared is None or declared.sop_instance not in asked:
            self.foreign += 1
            self.refusal = "the source sends parts that are no DICOM files or were not asked for"
            if self.foreign > MOST_FOREIGN:
                raise _Foreign("sends parts that are no DICOM files or were not asked for")
            return
        first = memoryview(bytes(head))[declared.start :]
        known = next(
            (i.sop_class for i in self.wanted.instances if i.sop_instance == declared.sop_instance), ""
        )  # fmt: skip
        named = Declared(
            declared.sop_class or known, declared.sop_instance, declared.transfer_syntax
        )
        self.refusal = self.keep(named, _pieces(first, part)) or self.refusal


def _pieces(first: memoryview, rest: Iterator[bytes]) -> Iterator[memoryview]:
    yield first
    for piece in rest:
        yield memoryview(piece)


def _parts(answer: httpx.Response, chunks: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Return the parts of an answer, each as it comes; a single object may come without parts."""
    kind = answer.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() == _DICOM:
        yield chunks
        return
    body = Multipart(chunks, boundary_of(kind))
    while body.next_part():
        yield iter(body.read, b"")


@dataclass(frozen=True, slots=True)
class WebInquiry:
    """QIDO-RS over one client. A match that was not asked for is left out."""

    server: DicomwebServer
    client: httpx.Client

    def probe(self) -> None:
        """Ask for at most one study."""
        self._matches("studies", limit="1")

    def studies(self, first: date, last: date) -> list[FoundStudy]:
        """Return the studies of these study dates."""
        dates = f"{first:%Y%m%d}-{last:%Y%m%d}"
        items = self._all(
            "studies", _STUDY, MOST_STUDIES, StudyDate=dates, includefield=_MODALITIES
        )
        return [FoundStudy(first_text(i, _STUDY), _texts(i, _MODALITIES)) for i in items]

    def series(self, study: str) -> list[FoundSeries]:
        """Return the series of a study."""
        fields = [_MODALITY, _DESCRIPTION, _PROTOCOL, _BODY_PART]
        items = self._all(f"studies/{study}/series", _SERIES, MOST_SERIES, includefield=fields)
        tags = (_SERIES, _MODALITY, _DESCRIPTION, _PROTOCOL, _BODY_PART)
        return [
            FoundSeries(*(first_text(i, tag) for tag in tags))
            for i in items
            if first_text(i, _STUDY) in {"", study}
        ]

    def instances(self, study: str, series: str) -> list[FoundInstance]:
        """Return the objects of a series."""
        path = f"studies/{study}/series/{series}/instances"
        items = self._all(path, _INSTANCE, MOST_INSTANCES)
        return [
            FoundInstance(first_text(i, _INSTANCE), first_text(i, _CLASS))
            for i in items
            if first_text(i, _SERIES) in {"", series} and first_text(i, _STUDY) in {"", study}
        ]

    def _all(
        self, path: str, tag: str, most: int, **keys: str | list[str]
    ) -> list[Mapping[str, Any]]:
        """Return the matches with a valid UID, page by page; a server that answers them at once is asked twice at most."""
        found: dict[str, Mapping[str, Any]] = {}
        answered = 0
        while True:
            page = self._matches(path, **keys, **({"offset": str(answered)} if answered else {}))
            fresh = {u: i for i in page if is_uid(u := first_text(i, tag)) and u not in found}
            found |= fresh
            answered += len(page)
            if len(found) > most:
                raise SourceFault(f"{self.server.shown} answers QIDO-RS with more than {most} matches")  # fmt: skip
            if len(page) < PAGE or not fresh:
                return list(found.values())

    def _matches(self, path: str, **keys: str | list[str]) -> Sequence[Mapping[str, Any]]:
        try:
            return self.server.matches(self.client, path, **keys)
        except QueryUnsupported:
            raise SourceFault(f"{self.server.shown} does not support QIDO-RS") from None
        except QueryUnanswered as error:
            raise SourceFault(f"{self.server.shown} {error}") from error


def _texts(item: Mapping[str, Any], tag: str) -> tuple[str, ...]:
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return tuple(str(v) for v in values if v) if isinstance(values, list) else ()
