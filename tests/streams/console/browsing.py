"""A console in a browser's place: what it shows, and a client of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from streams.console.decisions import Asked
from streams.console.item import Event, Item
from streams.console.state import Seen, State
from streams.console.web import Console
from streams.errors import BrokerError
from tests.streams.console.making import HOSTILE, NOW, watched

TOKEN = "correct horse battery staple, and a little more"


PATHS = ("/", "/decisions", "/threshold", "/quality", "/controls", "/letters", "/workers")


class Source:
    """A fleet where all is well, and what was asked of it."""

    def __init__(self) -> None:
        self.fleet = watched()
        self.asked: list[Asked] = []

    def state(self) -> State:
        return self.fleet.state(NOW)

    def latest(self, asked: Asked, most: int) -> list[Seen]:
        self.asked.append(asked)
        return self.fleet.latest(asked, most)


def found(request_id: str) -> Item:
    """One event of any item but `away`."""
    if request_id == "away":
        raise BrokerError("no Kafka broker answered at nowhere:9092")
    return Item(request_id, [Event("requests", "there 0:1", "12:00", "the request came", {"policy": HOSTILE})], [])


def browse(
    work: Callable[[TestClient[Any, Any], Source], Awaitable[None]], find: Callable[[str], Item] = found
) -> None:
    """Do something with a client of a console."""

    async def run() -> None:
        source = Source()
        async with TestClient(TestServer(Console(source, find, ["console.example"]).app())) as client:
            await work(client, source)

    asyncio.run(run())
