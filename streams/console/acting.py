"""The way from the browser to the desk: a page that shows what a change would do, and the form on it that makes it, for who has the token."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from streams.console import pages
from streams.console.answers import LONGEST, apart, html, version_in
from streams.console.desk import TOO_MANY, Desk, Proposal, Token, Wanted
from streams.console.state import State
from streams.errors import ControlError, StreamError, TokenError

_WELL: Final = 200
_CONFLICT: Final = 409
_NO_BROKER: Final = 503
_FORM: Final = "application/x-www-form-urlencoded"


class Acting:
    """The two routes; `state` says how the fleet stands."""

    def __init__(self, state: Callable[[], State], desk: Desk, token: Token) -> None:
        self._state, self._desk, self._token = state, desk, token
        self._busy = asyncio.Lock()

    def add_to(self, app: web.Application) -> None:
        """Have the application serve them."""
        app.router.add_get("/act", self._propose)
        app.router.add_post("/act", self._act)

    async def _propose(self, request: web.Request) -> web.Response:
        """What it would do, and the form that does it: nothing changes yet."""
        return await self._proposed(_wanted(request))

    async def _act(self, request: web.Request) -> web.Response:
        """Do it: who asks must come from a page of ours, and have the token."""
        if not _is_sent_from_here(request):
            raise web.HTTPForbidden(text="this form was not sent from a page of the console. Nothing was written\n")
        if request.content_type != _FORM:
            raise web.HTTPUnsupportedMediaType(text="this is no form of the console. Nothing was written\n")
        form = {name: text for name, text in (await request.post()).items() if isinstance(text, str)}
        wanted, by, reason = _wanted(request), form.get("by", ""), form.get("reason", "")
        try:
            self._token.check(form.get("token", ""), request.remote or "")
            async with self._busy:
                taken = await apart(self._desk.issue, wanted, version_in(form.get("version", "")), by, reason)
        except TokenError as refused:
            return await self._proposed(wanted, str(refused), refused.status, by, reason)
        except StreamError as problem:
            status = _CONFLICT if isinstance(problem, ControlError) else _NO_BROKER
            return await self._proposed(wanted, str(problem), status, by, reason)
        raise web.HTTPSeeOther(f"/controls?written={taken.version}")

    async def _proposed(
        self, wanted: Wanted, problem: str | None = None, status: int = _WELL, by: str = "", reason: str = ""
    ) -> web.Response:
        """The page; what it would do is left out where that cannot be told, or too many wrong tokens came."""
        proposal: Proposal | None = None
        also: tuple[str, int] | None = None
        if self._busy.locked():  # what is sent waits its turn, what is only looked at does not
            also = "another change is being looked at: try again in a moment", _NO_BROKER
        elif status != TOO_MANY:
            async with self._busy:
                try:
                    proposal = await apart(self._desk.propose, wanted)
                except StreamError as error:
                    also = str(error), _CONFLICT if isinstance(error, ControlError) else _NO_BROKER
        if problem is None and also is not None:
            problem, status = also
        return html(pages.act(self._state(), wanted, proposal, problem, by, reason), status)


def _wanted(request: web.Request) -> Wanted:
    """What is asked for, of the address: there any character stands as it is, in a form's fields not."""
    return Wanted.of({name: text[:LONGEST] for name, text in request.query.items()})


def _is_sent_from_here(request: web.Request) -> bool:
    """Whether a form was sent from a page of ours: browsers say whence with every POST."""
    _, _, whence = request.headers.get("Origin", "").partition("://")
    return whence.lower() == request.host.lower() != ""
