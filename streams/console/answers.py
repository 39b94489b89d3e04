"""What the console's handlers have in common: answers, work that waits for brokers, and numbers in an address."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from aiohttp import web

from streams.pipeline.control_fields import MOST_EXACT

_T = TypeVar("_T")
LONGEST: Final = 300
"""Characters of a text in an address that are looked at."""


def html(text: str, status: int = 200) -> web.Response:
    """A page."""
    # What is no character (a lone surrogate) can be in a text that somebody wrote, and in no page.
    return web.Response(body=text.encode(errors="replace"), status=status, content_type="text/html", charset="utf-8")


def version_in(text: str) -> int | None:
    """A version of the controls; None where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(MOST_EXACT)) else None


async def apart(work: Callable[..., _T], *arguments: object) -> _T:
    """On a thread of its own: it waits for brokers."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(work, *arguments))
