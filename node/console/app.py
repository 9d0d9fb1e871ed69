"""The web application: addresses, and how a request becomes a page in one of a few threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from node.console import auth
from node.console.console import NOBODY, Asked, Console, Visitor
from node.console.guard import Guard
from node.console.live import Live, TooManyReaders
from node.console.login import login_address, login_routes
from node.console.pages import ACTIONS, PAGES, Act, Page, picture
from node.console.proposal import worst_picture
from node.console.question import ROOT
from node.console.render import render, render_message
from node.console.training_watch import training_seen
from node.errors import ChangedMeanwhile, IllegalTransition, UnknownJob, UnknownUid, UsersRefused
from node.events import StepFailed
from node.faults import describe_error, error_trace
from node.journal.file import JournalError

if TYPE_CHECKING:
    from node.console.viewing import Viewing

THREADS: Final = 4
"""Pages that are made at the same time; each thread has its own connection to the journal."""
PING_S: Final = 15
STATIC: Final = Path(__file__).parent / "static"
WORST_PICTURE: Final = "/training/jobs/{id:int}/worst/{number:int}-{side}.png"
_SEE_OTHER: Final = HTTPStatus.SEE_OTHER

Make = Callable[[Asked], Response]


@dataclass(eq=False, slots=True)
class App:
    """The application's running parts."""

    console: Console
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "console"))
    looking: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "console live")
    )
    live: Live = field(init=False)
    viewing: Viewing | None = field(init=False)

    def __post_init__(self) -> None:
        self.viewing = _viewing(self.console)
        tests = self.console.echo_tests
        self.live = Live(
            self.console.journal,
            self.looking,
            training=partial(training_seen, self.console),
            tests=lambda: tests.version,
        )

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Look at the journal while the application runs."""
        looking = asyncio.create_task(self.live.run())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            if self.viewing is not None:
                await self.viewing.archive.close()
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.looking.shutdown(wait=False, cancel_futures=True)

    # ---- requests ----

    def page(self, one: Page) -> Callable[[Request], Any]:
        """Return the endpoint of a page."""

        def make(asked: Asked) -> Response:
            # Before the rest: what happens meanwhile is sent to the page when it listens.
            last = self.console.journal.changes.newest()["event"]
            values = {**one.values(self.console, asked), "last": last}
            return render(self.console, asked.visitor, one.template, values)

        return partial(self._answer, make=make)

    def act(self, one: Act) -> Callable[[Request], Any]:
        """Return the endpoint of a form: GET asks for confirmation, POST does it."""

        def make(asked: Asked) -> Response:
            if not one.is_allowed(asked.visitor.role):
                return render_message(
                    self.console, asked.visitor, HTTPStatus.FORBIDDEN, one.refusal
                )
            if not asked.is_post:
                values = one.confirmation(self.console, asked)
                return render(self.console, asked.visitor, "confirm.html", values)
            if not self._is_own_form(asked):
                text = "the form is of an earlier login; go back, load the page again and repeat"
                return render_message(self.console, asked.visitor, HTTPStatus.FORBIDDEN, text)
            return one.perform(self.console, asked)

        return partial(self._answer, make=make)

    async def picture(self, request: Request) -> Response:
        """Answer with the picture of a series."""
        return await self._answer(request, make=partial(picture, self.console))

    def viewer_routes(self) -> list[Route]:
        """Return the addresses of the viewer and of the archive that it reads; none where no viewer is configured."""
        viewing = self.viewing
        if viewing is None:
            return []

        async def archive(request: Request) -> Response:
            return await self._answer(request, lambda asked: viewing.ask(request, asked.visitor))

        async def file(request: Request) -> Response:
            if not viewing.viewer.holds(request.url.path):
                raise HTTPException(HTTPStatus.NOT_FOUND)
            return await self._answer(request, lambda asked: viewing.file(request, asked.visitor))

        return [
            Route(f"{ROOT}/{{rest:path}}", archive, methods=["GET"]),
            Route("/{rest:path}", file, methods=["GET"]),
        ]

    async def worst_picture(self, request: Request) -> Response:
        """Answer with the picture of a worst case of a comparison."""
        return await self._answer(request, make=partial(worst_picture, self.console))

    def _is_own_form(self, asked: Asked) -> bool:
        given = str(asked.form.get("token", ""))
        return self.console.sessions.is_form_token(asked.visitor.subject, given)

    async def _answer(self, request: Request, make: Make) -> Response:
        """Make an answer in a thread, for who has logged in."""
        form = FormData()
        if request.method == "POST":
            form = FormData(await request.form(max_files=0, max_fields=20))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, self._made, request, form, make)

    def _made(self, request: Request, form: FormData, make: Make) -> Response:
        who = NOBODY
        try:
            visitor = auth.visitor(self.console, request)
            if visitor is None:
                return self._to_login(request)
            who = visitor
            is_post = request.method == "POST"
            return make(
                Asked(visitor, request.path_params, request.query_params, form, is_post=is_post)
            )
        except UnknownUid:
            text = "the journal has nothing of that name; look for it in the list of series"
            return render_message(self.console, who, HTTPStatus.NOT_FOUND, text, "/series")
        except UnknownJob:
            text = "there is no such job; the page about training lists them"
            return render_message(self.console, who, HTTPStatus.NOT_FOUND, text, "/training")
        except (ChangedMeanwhile, IllegalTransition) as error:
            return render_message(
                self.console, who, HTTPStatus.CONFLICT, str(error), _back(request)
            )
        except UsersRefused:
            text = "the users cannot be read; `lumbar-node users list` says why"
            return render_message(self.console, NOBODY, HTTPStatus.SERVICE_UNAVAILABLE, text)
        except JournalError as error:
            return self._failed(error, who, HTTPStatus.SERVICE_UNAVAILABLE, "the journal is busy; load the page again")  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this request, no other
            return self._failed(error, who, HTTPStatus.INTERNAL_SERVER_ERROR, "the page could not be made; see the node's log")  # fmt: skip

    def _failed(self, error: Exception, who: Visitor, status: HTTPStatus, text: str) -> Response:
        self.console.log(StepFailed("console", describe_error(error), error_trace(error)))
        return render_message(self.console, who, status, text)

    def _to_login(self, request: Request) -> Response:
        if self.console.config.web.auth == "proxy":
            text = "the proxy named no user whom this node knows; add the name with `lumbar-node users add`"
            return render_message(self.console, NOBODY, HTTPStatus.FORBIDDEN, text)
        mode = request.headers.get("sec-fetch-mode", "navigate")
        if auth.REFRESH in request.headers or mode != "navigate":
            return PlainTextResponse("log in\n", HTTPStatus.UNAUTHORIZED)
        return RedirectResponse(login_address(request), _SEE_OTHER)

    async def stream(self, request: Request) -> Response:
        """Answer with events while something changes."""
        loop = asyncio.get_running_loop()

        def is_welcome() -> bool:
            try:
                return auth.visitor(self.console, request, active=False) is not None
            except UsersRefused:
                return False

        if not await loop.run_in_executor(self.pool, is_welcome):
            return PlainTextResponse("log in\n", HTTPStatus.UNAUTHORIZED)
        last = request.headers.get("last-event-id") or request.query_params.get("last", "")
        missed = None
        if last.isdecimal() and len(last) < 19:
            missed = await loop.run_in_executor(self.looking, self.live.since, int(last))
        try:
            reader = self.live.join()
        except TooManyReaders:
            return PlainTextResponse("too many pages are open\n", HTTPStatus.SERVICE_UNAVAILABLE)
        events = self.live.stream(reader, missed, is_welcome)
        return EventSourceResponse(events, ping=PING_S)


def application(console: Console) -> ASGIApp:
    """Return the web application of a console."""
    app = App(console)
    routes = [
        *(Route(path, app.page(one), methods=["GET"]) for path, one in PAGES.items()),
        *(Route(path, app.act(one), methods=["GET", "POST"]) for path, one in ACTIONS.items()),
        Route("/series/{id:int}/picture.png", app.picture, methods=["GET"]),
        Route(WORST_PICTURE, app.worst_picture, methods=["GET"]),
        Route("/live", app.stream, methods=["GET"]),
        *login_routes(console),
        Mount("/static", StaticFiles(directory=STATIC)),
        *app.viewer_routes(),
    ]
    inner = Starlette(routes=routes, lifespan=app.lifespan, exception_handlers=_handlers(console))
    web = console.config.web
    return Guard.around(inner, (web.host, *web.names), tls=web.tls)


def _viewing(console: Console) -> Viewing | None:
    if not console.config.web.ohif:
        return None
    from node.console.viewing import Viewing  # noqa: PLC0415 - what calls an archive is seldom needed

    return Viewing.of(console)


def _handlers(console: Console) -> Mapping[Any, Any]:
    async def missing(_request: Request, _error: Exception) -> Response:
        text = "there is no such page"
        return render_message(console, NOBODY, HTTPStatus.NOT_FOUND, text)

    return {HTTPStatus.NOT_FOUND: missing}


def _back(request: Request) -> str:
    """Return the address of the page that a form was on."""
    path = request.url.path
    if request.path_params.get("id") is None and not path.startswith("/training/"):
        return "/"
    return path.rpartition("/")[0]
