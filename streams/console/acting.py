"""The way from the browser to the desk: a page that shows what a change would do, and the form on it that makes it, for who has the token."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from aiohttp import web

from streams.console import pages
from streams.console.answers import LONGEST, apart, html, version_in
from streams.console.desk import STOP, Desk, Proposal, Token, Wanted
from streams.console.state import State
from streams.errors import BrokerError, ControlError, StreamError, TokenError

_WELL: Final = 200
_FORBIDDEN: Final = 403
_CONFLICT: Final = 409
_NO_BROKER: Final = 503
_PATIENCE: Final = 5.0
"""Seconds for which it is waited to hear what a change would do."""
_SENT_WITHIN: Final = 10.0
"""Seconds within which a form has to come."""
_REMEMBERED: Final = 20
_FORM: Final = "application/x-www-form-urlencoded"


class Acting:
    """The two routes; `state` says how the fleet stands."""

    def __init__(self, state: Callable[[], State], desk: Desk, token: Token) -> None:
        self._state, self._desk, self._token = state, desk, token
        self._busy = asyncio.Lock()
        self.written: deque[int] = deque(maxlen=_REMEMBERED)
        """The last versions that were written from here."""

    def add_to(self, app: web.Application) -> None:
        """Have the application serve them."""
        app.router.add_get("/act", self._propose)
        app.router.add_post("/act", self._act)

    async def _propose(self, request: web.Request) -> web.Response:
        """What it would do, and the form that does it: nothing changes yet."""
        return await self._proposed(_wanted(request))

    async def _act(self, request: web.Request) -> web.Response:
        """Do it: who asks must come from a page of ours, and have the token."""
        _check_whence(request)
        form = await _form(request)
        wanted, by, reason = _wanted(request), form.get("by", ""), form.get("reason", "")
        try:
            self._token.check(form.get("token", ""), request.remote or "")
            async with nullcontext() if wanted.action == STOP else self._busy:
                taken = await apart(self._desk.issue, wanted, version_in(form.get("version", "")), by, reason)
        except StreamError as refused:
            return await self._proposed(wanted, refused, by, reason)
        self.written.append(taken.version)
        raise web.HTTPSeeOther(f"/controls?written={taken.version}")

    async def _proposed(
        self, wanted: Wanted, refused: StreamError | None = None, by: str = "", reason: str = ""
    ) -> web.Response:
        """The page. Where what it would do cannot be told, a stop can be sent all the same."""
        proposal: Proposal | None = None
        can_be_sent = True
        problem = refused
        try:
            proposal = await self._heard(wanted)
        except StreamError as error:
            can_be_sent = wanted.action == STOP and not isinstance(error, ControlError)
            problem = refused or error
        page = pages.act(
            self._state(), wanted, proposal, None if problem is None else str(problem), by, reason, form=can_be_sent
        )
        return html(page, _WELL if problem is None else _status(problem))

    async def _heard(self, wanted: Wanted) -> Proposal:
        """What it would do, if that is heard in a moment. What is sent waits its turn, what is only looked at does not."""
        if self._busy.locked():
            raise BrokerError("another change is being looked at: try again in a moment")
        await self._busy.acquire()
        looking = asyncio.ensure_future(apart(self._desk.propose, wanted))
        looking.add_done_callback(self._looked)
        # One that takes longer goes on, and keeps the others from the desk until it is done.
        await asyncio.wait([looking], timeout=_PATIENCE)
        if not looking.done():
            raise BrokerError(f"what it would do is not known after {_PATIENCE:g} s: try again in a moment")
        return looking.result()

    def _looked(self, looking: "asyncio.Future[Proposal]") -> None:
        self._busy.release()
        if not looking.cancelled():
            looking.exception()  # nobody may be there any more to take it


def _status(problem: StreamError) -> int:
    if isinstance(problem, TokenError):
        return _FORBIDDEN
    return _CONFLICT if isinstance(problem, ControlError) else _NO_BROKER


def _wanted(request: web.Request) -> Wanted:
    """What is asked for, of the address: there any character stands as it is, in a form's fields not."""
    return Wanted.of({name: text[:LONGEST] for name, text in request.query.items()})


def _check_whence(request: web.Request) -> None:
    """Raise HTTPForbidden unless a form was sent from a page of ours: browsers say whence with every POST."""
    whence = request.headers.get("Origin", "")
    if whence.partition("://")[2].lower() == request.host.lower() != "":
        return
    text = (
        f"this form was not sent from a page of the console: its Origin is {whence[:LONGEST]!r}, its Host {request.host[:LONGEST]!r}; "
        "a proxy must pass both on as the browser sent them. Nothing was written\n"
    )
    raise web.HTTPForbidden(text=text)


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form. Raises what HTTP has for one that is none, or does not come."""
    if request.content_type != _FORM:
        raise web.HTTPUnsupportedMediaType(text="this is no form of the console. Nothing was written\n")
    try:
        fields = await asyncio.wait_for(request.post(), _SENT_WITHIN)
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=f"the form did not come within {_SENT_WITHIN:g} s. Nothing was written\n"
        ) from None
    except (LookupError, UnicodeDecodeError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="this form cannot be read. Nothing was written\n") from None
    return {name: text for name, text in fields.items() if isinstance(text, str)}
