"""Serve the built OHIF viewer and the PACS's DICOMweb under one origin, for reading only.

OHIF wants its files at the root, an `app-config.js` of ours, `index.html` for every page address,
and `/dicom-web` beside them. One origin needs no CORS, and the browser talks to loopback only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

from node.console.viewer import SCRIPTS, app_config
from node.demo.servers import LOOPBACK, ServerFailed

__all__ = ["SCRIPTS", "app_config"]

_NO_STORE: Final = {"Cache-Control": "no-store"}
_FORWARDED: Final = ("content-type", "content-length", "content-encoding", "location")
_START_TIMEOUT_S: Final = 20.0
_PACS_TIMEOUT_S: Final = 60.0


class _Pages(StaticFiles):
    """The viewer's files; an address without a dot is one of its pages."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        is_file = "." in path.rsplit("/", 1)[-1] and path != "."
        if is_file or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        return FileResponse(Path(str(self.directory)) / "index.html", headers=_NO_STORE)


def application(dist: Path, scripts: Path, pacs_url: str) -> Starlette:
    """Return the web application.

    dist: OHIF's built files. scripts: the folder of our `app_config`. pacs_url: Orthanc's base address.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=_PACS_TIMEOUT_S) as client:
            app.state.client = client
            yield

    async def settings(_: Request) -> Response:
        return Response(app_config(scripts), media_type="text/javascript", headers=_NO_STORE)

    async def dicomweb(request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        client: httpx.AsyncClient = request.app.state.client
        # The browser's own Host goes along, so that addresses in the answers point back here.
        headers = {k: v for k, v in request.headers.items() if k in ("accept", "host")}
        url = f"{pacs_url}{path}{'?' if query else ''}{query}"
        answer = await _ask(client, url, headers)
        if answer is None:
            return PlainTextResponse("The PACS does not answer.", status_code=502)
        return StreamingResponse(
            answer.aiter_raw(),
            status_code=answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k in _FORWARDED},
            background=BackgroundTask(answer.aclose),
        )

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/app-config.js", settings, methods=["GET"]),
            Route("/dicom-web/{rest:path}", dicomweb, methods=["GET"]),
            Mount("/", _Pages(directory=dist)),
        ],
        # A page of another origin must not reach the PACS through a name that resolves to loopback.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
    )


async def _ask(
    client: httpx.AsyncClient, url: str, headers: dict[str, str]
) -> httpx.Response | None:
    """Ask the PACS, twice where an idle connection was closed under the first question; None without an answer."""
    for _ in range(2):
        try:
            return await client.send(client.build_request("GET", url, headers=headers), stream=True)
        except httpx.HTTPError:
            continue
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Viewer:
    """The running web server of this process."""

    server: uvicorn.Server
    thread: threading.Thread
    port: int

    @property
    def url(self) -> str:
        """Address of the viewer's work list."""
        return f"http://{LOOPBACK}:{self.port}"

    def link(self, study_uid: str, result_uid: str = "") -> str:
        """Return the address that opens a study with its newest result, or with the result that a UID names."""
        result = f"&result={result_uid}" if result_uid else ""
        return f"{self.url}/viewer?StudyInstanceUIDs={study_uid}{result}"

    def stop(self) -> None:
        """Stop serving."""
        self.server.should_exit = True
        self.thread.join(_START_TIMEOUT_S)


def link_template(port: int) -> str:
    """Return `[results] viewer` of a node whose viewer is served here."""
    return f"http://{LOOPBACK}:{port}/viewer?StudyInstanceUIDs={{study}}&result={{result}}"


def serve(app: Starlette, port: int) -> Viewer:
    """Serve on loopback in a thread. Raises `ServerFailed`."""
    settings = uvicorn.Config(
        app,
        host=LOOPBACK,
        port=port,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=2,
        ws="none",
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, name="ohif", daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise ServerFailed(f"the viewer's web server did not start on port {port}")
        time.sleep(0.02)
    return Viewer(server, thread, port)


def built(folder: Path) -> Path | None:
    """Return OHIF's unpacked files under `folder` (see `orthanc/ohif.sh`), or None."""
    dist = folder / "dist"
    return dist if (dist / "index.html").exists() else None
