"""The console in a browser, without a broker: answers, headers, who is let in, and what is pushed."""

import asyncio
import threading
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient

from streams.console.decisions import Asked
from streams.console.item import Item
from streams.console.web import Console, serve
from tests.streams.console.browsing import PATHS, Source, browse, found
from tests.streams.console.making import HOSTILE


@pytest.mark.parametrize("path", [*PATHS, "/item?id=a", "/state.json", "/static/console.js", "/static/console.css"])
def test_every_answer_may_load_nothing_from_elsewhere(path: str) -> None:
    """Nor be framed, sniffed, kept, or read by another site."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        answer = await client.get(path)
        assert 200 == answer.status
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert ("nosniff", "no-store") == (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"])
        assert "Access-Control-Allow-Origin" not in answer.headers

    browse(work)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/controls", "/item", "/state.json"])
def test_nothing_can_be_changed(method: str, path: str) -> None:
    """There is no other way in than to read."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        answer = await client.request(method, path, data=b"{}")
        assert 405 == answer.status
        assert "Content-Security-Policy" in answer.headers

    browse(work)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:6067", 200),
        ("[::1]:6067", 200),
        ("10.0.0.7", 200),
        ("localhost:1", 200),
        ("console.example", 200),
        ("evil.example:6067", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_it_answers_to_addresses_and_its_own_names(host: str, status: int) -> None:
    """A name that anybody can have point here could be a page of theirs, read by a browser that may connect."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        answer = await client.get("/state.json", headers={"Host": host})
        assert status == answer.status
        assert ("findings" in await answer.text()) == (status == 200)

    browse(work)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
    ],
)
def test_other_pages_have_it_do_nothing(headers: dict[str, str], status: int) -> None:
    """A link to an item may be followed from elsewhere; a picture of that address would only have topics read."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        assert status == (await client.get("/item?id=a", headers=headers)).status

    browse(work)


def test_filters_go_to_the_source() -> None:
    """And stand in the form again, escaped."""

    async def work(client: TestClient[Any, Any], source: Source) -> None:
        query = {"policy": HOSTILE, "route": "auto-action", "request_id": "id-1", "unknown": "x"}
        page = await (await client.get("/decisions", params=query)).text()
        assert [Asked(HOSTILE.strip(), "auto-action", "", "", "id-1")] == source.asked
        assert "<img src=x" not in page

    browse(work)


def test_the_latest_decisions_lead_to_their_items() -> None:
    """By their id, whatever is in it."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        page = await (await client.get("/decisions")).text()
        assert '<a href="/item?id=id-39">id-39</a>' in page

    browse(work)


def test_an_item_and_why_it_cannot_be_looked_for() -> None:
    """A broker that is away is said on the page."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        page = await (await client.get("/item", params={"id": HOSTILE})).text()
        assert "the request came" in page
        assert "<img src=x" not in page
        assert "no Kafka broker answered" in await (await client.get("/item?id=away")).text()
        answer = await client.get("/item?id=%20", allow_redirects=False)
        assert (302, "/decisions") == (answer.status, answer.headers["Location"])

    browse(work)


def test_one_item_is_looked_for_at_a_time() -> None:
    """Reading topics through is work for the brokers."""
    looking, go = threading.Event(), threading.Event()

    def slow(request_id: str) -> Item:
        looking.set()
        assert go.wait(10)
        return found(request_id)

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        first = asyncio.create_task(client.get("/item?id=a"))
        assert await asyncio.to_thread(looking.wait, 10)
        second = await client.get("/item?id=b")
        assert 503 == second.status
        assert "try again" in await second.text()
        go.set()
        assert 200 == (await first).status

    browse(work, slow)


def test_the_state_as_json() -> None:
    """All that the pages are made of."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        document = await (await client.get("/state.json")).json()
        assert "flowing" == document["findings"][0]["word"]
        assert None is document["request_latency"]

    browse(work)


def test_ticks_are_pushed() -> None:
    """At once, and again; a browser that goes away leaves its place to another."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        for _ in range(60):
            answer = await client.get("/events")
            assert "text/event-stream" == answer.headers["Content-Type"]
            assert b"event: tick\n" == await answer.content.readline()
            answer.close()
            await asyncio.sleep(0)

    browse(work)


def test_only_so_many_browsers_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is told so."""
    monkeypatch.setattr("streams.console.web._MOST_LISTENERS", 1)

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        first = await client.get("/events")
        await first.content.readline()
        assert 503 == (await client.get("/events")).status
        first.close()

    browse(work)


def test_serving_says_where() -> None:
    """The port that it got, and it answers there."""

    async def run() -> None:
        at: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(Console(Source(), found), "127.0.0.1", 0, at.set_result))
        async with ClientSession() as session, session.get(await at) as answer:
            assert 200 == answer.status
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(run())
