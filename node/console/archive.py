"""DICOMweb of one archive for the viewer: questions of a few forms, about studies of this node, answered as they come.

Of the browser's request the archive gets the path, the keys and the kinds of answer that it takes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from node.console.question import ROOT, Question
from node.deliver.dicom_json import first_text
from node.deliver.dicomweb import FAULTS, DicomwebServer
from node.deliver.http_request import AnswerRefused

MOST_AT_ONCE: Final = 24
"""Questions that the archive gets at the same time; a browser asks six."""
WAIT_S: Final = 20.0
"""Time that a question waits for its turn."""
LONGEST_S: Final = 600.0
"""Time of an answer in all."""
MOST_BYTES: Final = 2_000_000_000
MOST_JSON: Final = 64_000_000
"""Bytes of an answer that is held in memory: its addresses are made those of this console."""

KINDS: Final = frozenset(
    {
        "application/dicom+json", "application/json", "application/dicom", "application/octet-stream",
        "application/pdf", "multipart/related", "image/jpeg", "image/png", "image/gif", "image/jp2", "image/jls",
        "image/jphc", "image/x-dicom-rle", "image/dicom-rle", "video/mp4", "video/mpeg",
    }
)  # fmt: skip
"""Kinds of answers that go on: none that a browser would run as a page of this console."""
_JSON: Final = frozenset({"application/dicom+json", "application/json"})
_ADDRESS: Final = re.compile(rb'"https?:(?:\\?/){2}[^"\s]*?(\\?/studies\\?/[^"\s]*)"')
"""An address of the archive as text in JSON, also with the slashes escaped."""
_STUDY: Final = "0020000D"
_HEADERS: Final = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}

Reply = Callable[[Response], Awaitable[None]]


@dataclass(eq=False, slots=True)
class Archive:
    """The archive that the viewer reads from: one address, with the login and TLS of its destination.

    is_known: whether a study is one of this node; called in threads.
    """

    server: DicomwebServer
    is_known: Callable[[str], bool]
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    _client: httpx.AsyncClient | None = None
    _verify: object = None

    def options(self) -> Mapping[str, Any]:
        """Return what a question needs of the destination, read each time. Raises what is in `FAULTS`."""
        return self.server.options()

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def serve(
        self, asked: Question, options: Mapping[str, Any], origin: str, reply: Reply
    ) -> None:
        """Ask when it is its turn, and pass the answer on as it comes."""
        try:
            await asyncio.wait_for(self._turns.acquire(), WAIT_S)
        except TimeoutError:
            await reply(said(HTTPStatus.SERVICE_UNAVAILABLE, "the archive is busy; load it again"))
            return
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._serve(asked, options, origin, reply)
        finally:
            self._turns.release()

    async def _serve(
        self, asked: Question, options: Mapping[str, Any], origin: str, reply: Reply
    ) -> None:
        answer = None
        try:
            try:
                answer = await self._sent(asked, options)
                response = await self._response(asked, answer, origin)
            except FAULTS as error:
                response = said(HTTPStatus.BAD_GATEWAY, self.server.fault_text(error))
            # What fails from here on breaks the answer off: its beginning has gone.
            await reply(response)
        finally:
            if answer is not None:
                await answer.aclose()

    async def _response(self, asked: Question, answer: httpx.Response, origin: str) -> Response:
        """Return what the browser gets. Raises `httpx.HTTPError`."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        refused = _refusal(answer, kind)
        if refused is not None:
            return refused
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=_HEADERS)
        if kind not in _JSON and asked.studies:
            kept = {**_HEADERS, "content-type": answer.headers["content-type"]}
            return StreamingResponse(_pieces(answer, MOST_BYTES), answer.status_code, kept)
        content = b"".join([piece async for piece in _pieces(answer, MOST_JSON)])
        if not asked.studies:
            content = await asyncio.to_thread(self._known, content)
        own = b'"' + f"{origin}{ROOT}".encode("ascii") + rb'\1"'
        return Response(_ADDRESS.sub(own, content), media_type=kind, headers=_HEADERS)

    def _known(self, content: bytes) -> bytes:
        """Return a list of studies without those that this node does not know. Raises `AnswerRefused`."""
        try:
            listed = json.loads(content)
            found = [one for one in listed if self.is_known(first_text(one, _STUDY))]
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise AnswerRefused(
                "answers QIDO-RS with a body that is not valid DICOM JSON"
            ) from None
        return json.dumps(found).encode()

    async def _sent(self, asked: Question, options: Mapping[str, Any]) -> httpx.Response:
        """Send a question, twice where an idle connection was closed under it."""
        client = self._connected(options)
        query = f"?{urlencode(asked.keys)}" if asked.keys else ""
        headers = {"Accept": asked.accept, **options["headers"]}
        address = f"{self.server.url}{asked.path}{query}"
        request = client.build_request("GET", address, headers=headers)
        try:
            return await client.send(request, stream=True)
        except httpx.RemoteProtocolError:
            return await client.send(request, stream=True)

    def _connected(self, options: Mapping[str, Any]) -> httpx.AsyncClient:
        """Return the client; another one when the certificates were renewed."""
        if self._client is None or self._verify is not options["verify"]:
            limits = httpx.Limits(
                max_connections=MOST_AT_ONCE, max_keepalive_connections=MOST_AT_ONCE
            )
            kept = {key: options[key] for key in ("timeout", "verify", "trust_env")}
            self._client = httpx.AsyncClient(**kept, limits=limits, follow_redirects=False)
            self._verify = options["verify"]
        return self._client


async def _pieces(answer: httpx.Response, most: int) -> AsyncIterator[bytes]:
    """Yield the bytes as they come. Raises `AnswerRefused` for more than are allowed."""
    count = 0
    async for piece in answer.aiter_raw():
        count += len(piece)
        if count > most:
            raise AnswerRefused(f"sends an answer of more than {most // 1_000_000} MB")
        yield piece


def _refusal(answer: httpx.Response, kind: str) -> Response | None:
    """Return a sentence in place of an answer that the browser does not get; never a text of the archive."""
    code = answer.status_code
    if code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        text = f"the archive refuses the node's login (HTTP {code}); check authorization_file"
        return said(HTTPStatus.BAD_GATEWAY, text)
    if code in {HTTPStatus.NOT_FOUND, HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.GONE, HTTPStatus.BAD_REQUEST}:  # fmt: skip
        return said(code, f"the archive answers HTTP {code}")
    if code not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT}:
        return said(HTTPStatus.BAD_GATEWAY, f"the archive answers HTTP {code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        return said(
            HTTPStatus.BAD_GATEWAY, "the archive answers in a compression that was not asked for"
        )
    if code != HTTPStatus.NO_CONTENT and kind not in KINDS:
        return said(HTTPStatus.BAD_GATEWAY, "the archive answers with something else than DICOM")
    return None


def said(status: int, text: str) -> Response:
    """Return a sentence as an answer."""
    return PlainTextResponse(f"{text}\n", status, headers=_HEADERS)


class FromArchive(Response):
    """An answer that asks the archive when it is sent: what may be asked was judged before, in a thread."""

    def __init__(
        self, archive: Archive, asked: Question, options: Mapping[str, Any], origin: str
    ) -> None:
        super().__init__()
        self._serve = partial(archive.serve, asked, options, origin)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def reply(response: Response) -> None:
            await response(scope, receive, send)

        await self._serve(reply)
