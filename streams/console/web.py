"""The console in a browser: pages on a port of this machine, kept current by server-sent events.

There is nothing to log in to: who may connect may read. A page may load nothing but what comes from here, and runs one script, ours. A request
whose Host is a name that nobody gave is refused, else a page of anybody's could have a browser read this one; and so is what a page from elsewhere
has a browser ask for, but for a link that somebody follows. Something can be changed only where there is a `Desk`, and by a POST from a page of ours
that holds the token; else there is no such route. No cookie is set or read.
"""

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Collection
from importlib import resources
from typing import Final, Protocol

from aiohttp import web

from streams.console import pages
from streams.console.acting import Acting
from streams.console.answers import LONGEST, apart, html, version_in
from streams.console.decisions import Asked
from streams.console.desk import Desk, Token
from streams.console.item import Item
from streams.console.state import Seen, State, encode_state
from streams.errors import StreamError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TICK: Final = 2.0
"""Seconds between two events."""
_MOST_LISTENERS: Final = 50
_MOST_DECISIONS: Final = 200
_LARGEST_FORM: Final = 16 * 1024
_ELSEWHERE: Final = ("cross-site", "same-site")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # By "no-referrer" a browser would not even tell ourselves whence a form was sent.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC: Final = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class Source(Protocol):
    """What the pages are made of."""

    def state(self) -> State:
        """As it stands now."""

    def latest(self, asked: Asked, most: int) -> list[Seen]:
        """The last decisions that are asked for, the latest first."""


class Console:
    """The pages. `find` looks for an item in the topics, and may take its time; `names` are host names that it may be called by.

    With a `desk`, controls can be changed by who has the token.
    """

    def __init__(
        self,
        source: Source,
        find: Callable[[str], Item],
        names: Collection[str] = (),
        desk: tuple[Desk, Token] | None = None,
    ) -> None:
        self._source, self._find = source, find
        self._names = {"localhost", *(name.lower() for name in names)}
        self._listeners = 0
        self._finding = asyncio.Semaphore(1)
        self._acting = None if desk is None else Acting(source.state, *desk)

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_FORM)
        for path, page in (
            ("/", pages.now),
            ("/threshold", pages.threshold),
            ("/quality", pages.quality),
            ("/letters", pages.letters),
            ("/workers", pages.workers),
        ):
            app.router.add_get(path, self._shown(page))
        app.router.add_get("/controls", self._controls)
        app.router.add_get("/decisions", self._decisions)
        app.router.add_get("/item", self._item)
        app.router.add_get("/state.json", self._state)
        app.router.add_get("/events", self._events)
        if self._acting is not None:
            self._acting.add_to(app)
        for name, kind in _STATIC.items():
            app.router.add_get(f"/static/{name}", _static(name, kind))
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._is_ours(request.host):
            text = f"this console is not called {request.host[:LONGEST]!r}; --allow-host NAME has it answer to a name\n"
            return web.Response(status=421, text=text, headers=_HEADERS)
        if not _is_from_here(request):
            text = "a page from elsewhere has your browser ask for this: open the console itself\n"
            return web.Response(status=403, text=text, headers=_HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as problem:
            problem.headers.update(_HEADERS)
            raise
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _is_ours(self, host: str) -> bool:
        """Whether we are called by an address, which no other page can have point here, or by a name that is ours."""
        name = (host.rsplit(":", 1)[0] if not host.endswith("]") else host).lower()
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _shown(self, page: Callable[..., str]) -> Handler:
        async def handler(_request: web.Request) -> web.Response:
            return html(page(self._source.state(), acts=self._acts))

        return handler

    @property
    def _acts(self) -> bool:
        return self._acting is not None

    async def _controls(self, request: web.Request) -> web.Response:
        written = version_in(request.query.get("written", ""))
        if self._acting is None or written not in self._acting.written:  # a link may say anything
            written = None
        return html(pages.controls(self._source.state(), acts=self._acts, written=written))

    async def _decisions(self, request: web.Request) -> web.Response:
        query = request.query
        asked = Asked(*(query.get(name, "").strip()[:LONGEST] for name in Asked._fields))
        return html(
            pages.decisions(self._source.state(), asked, self._source.latest(asked, _MOST_DECISIONS), acts=self._acts)
        )

    async def _item(self, request: web.Request) -> web.Response:
        request_id = request.query.get("id", "").strip()[:LONGEST]
        if not request_id:
            raise web.HTTPFound("/decisions")
        if self._finding.locked():
            busy = "another item is being looked for: try again in a moment"
            return html(pages.item(self._source.state(), None, request_id, busy, acts=self._acts), status=503)
        found: Item | None = None
        problem: str | None = None
        async with self._finding:
            try:
                found = await apart(self._find, request_id)
            except StreamError as error:
                problem = str(error)
        return html(pages.item(self._source.state(), found, request_id, problem, acts=self._acts))

    async def _state(self, _request: web.Request) -> web.Response:
        return web.Response(body=encode_state(self._source.state()), content_type="application/json")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """A tick every two seconds: pages fetch themselves anew."""
        if self._listeners >= _MOST_LISTENERS:
            return web.Response(status=503, text=f"{_MOST_LISTENERS} browsers listen already\n")
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        self._listeners += 1
        try:
            await response.prepare(request)
            while True:
                await response.write(f"event: tick\ndata: {time.time():.0f}\n\n".encode())
                await asyncio.sleep(TICK)
        except ConnectionError:  # the browser went away
            return response
        finally:
            self._listeners -= 1


def _is_from_here(request: web.Request) -> bool:
    """Whether a browser asks for a page of ours, or somebody follows a link to it; what is no browser says nothing of it."""
    headers = request.headers
    if headers.get("Sec-Fetch-Site") not in _ELSEWHERE:
        return True
    return request.method == "GET" and (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) == (
        "navigate",
        "document",
    )


def _static(name: str, kind: str) -> Handler:
    body = resources.files("streams.console").joinpath(f"static/{name}").read_bytes()

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return handler


async def serve(console: Console, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `ready` is told the address. Raises OSError where it cannot listen there."""
    runner = web.AppRunner(console.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{runner.addresses[0][1]}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
