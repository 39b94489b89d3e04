"""The console in a browser, without a broker: answers, headers, who is let in, and what is pushed."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from streams.console.decisions import Asked
from streams.console.desk import THRESHOLD, Proposal, Token, Wanted
from streams.console.item import Event, Item
from streams.console.state import Seen, State
from streams.console.web import Console, serve
from streams.errors import BrokerError, ControlError
from streams.pipeline.control_log import Taken
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


def test_without_a_desk_there_is_no_way_to_act() -> None:
    """Neither to ask for a change, nor to make one; and pages say so."""

    async def work(client: TestClient[Any, Any], _source: Source) -> None:
        assert 404 == (await client.get("/act?action=stop")).status
        assert 404 == (await client.post("/act?action=stop", data={"token": TOKEN})).status
        for path in PATHS:
            page = await (await client.get(path)).text()
            assert "Read-only" in page
            assert "/act" not in page

    browse(work)


class Acting:
    """A desk that remembers what it was asked for; it refuses a threshold."""

    def __init__(self) -> None:
        self.issued: list[tuple[Wanted, int | None, str, str]] = []
        self.problem: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    def propose(self, wanted: Wanted) -> Proposal:
        assert self.may_answer.wait(20)
        if self.problem is not None:
            raise self.problem
        changes = [("stop of *", "none", "in force")]
        return Proposal(3, f"stop_automation policy={wanted.policy}", "for every policy", changes, [HOSTILE])

    def issue(self, wanted: Wanted, seen: int | None, by: str, reason: str) -> Taken:
        if wanted.action == THRESHOLD:
            raise ControlError("version 4 is in force, not 3: look at what has changed. Nothing was written")
        self.issued.append((wanted, seen, by, reason))
        return Taken(3, 0, None, is_applied=True)


def act(
    work: Callable[[TestClient[Any, Any], Acting], Awaitable[None]],
) -> None:
    """Do something with a client of a console that has a desk."""

    async def run() -> None:
        desk: Any = Acting()
        async with TestClient(TestServer(Console(Source(), found, (), (desk, Token(TOKEN))).app())) as client:
            await work(client, desk)

    asyncio.run(run())


def here(client: TestClient[Any, Any]) -> dict[str, str]:
    return {"Origin": str(client.make_url("")).rstrip("/")}


FORM = {"version": "3", "by": "ana", "reason": "wrong removals", "token": TOKEN}


def test_a_change_is_shown_then_made() -> None:
    """By the form that the page holds; what comes back leads to what is in force."""

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        page = await (await client.get("/act", params={"action": "stop", "policy": HOSTILE})).text()
        assert 'method="post"' in page
        assert "<img src=x" not in page
        assert [] == desk.issued
        address = {"action": "stop", "policy": HOSTILE}
        answer = await client.post("/act", params=address, data=FORM, headers=here(client), allow_redirects=False)
        assert (303, "/controls?written=4") == (answer.status, answer.headers["Location"])
        assert [(Wanted("stop", policy=HOSTILE), 3, "ana", "wrong removals")] == desk.issued
        assert "Set-Cookie" not in answer.headers
        assert "Version 4 is written" in await (await client.get("/controls?written=4")).text()
        # Of what was not written from here nobody is to be told so by a link.
        assert "is written" not in await (await client.get("/controls?written=5")).text()

    act(work)


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        (FORM, {}, 403),
        (FORM, {"Origin": "null"}, 403),
        (FORM, {"Origin": "http://["}, 403),
        (FORM, {"Origin": "here", "Content-Type": "multipart/form-data"}, 415),
        (FORM, {"Origin": "https://evil.example"}, 403),
        (FORM, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({**FORM, "token": "wrong"}, {"Origin": "here"}, 403),
        ({"by": "ana"}, {"Origin": "here"}, 403),
        ({**FORM, "reason": "x" * 20_000}, {"Origin": "here"}, 413),
    ],
)
def test_who_may_not_changes_nothing(form: dict[str, str], headers: dict[str, str], status: int) -> None:
    """A page from elsewhere, even with the token; a page of ours without it. The token stands in no answer."""

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        given = {name: here(client)["Origin"] if text == "here" else text for name, text in headers.items()}
        answer = await client.post("/act?action=stop", data=form, headers=given)
        assert (status, []) == (answer.status, desk.issued)
        assert TOKEN not in await answer.text()
        assert "Content-Security-Policy" in answer.headers

    act(work)


def test_what_is_not_waited_for_any_more_fails_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked was told that it is not known; a traceback in the log would tell nobody anything."""
    monkeypatch.setattr("streams.console.acting._PATIENCE", 0.05)

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        desk.problem = BrokerError("no Kafka broker answered")
        desk.may_answer.clear()
        await client.get("/act?action=stop")
        desk.may_answer.set()
        deadline = asyncio.get_running_loop().time() + 20
        while "no Kafka broker answered" not in await (await client.get("/act?action=stop")).text():
            assert asyncio.get_running_loop().time() < deadline
        gc.collect()
        await asyncio.sleep(0)

    act(work)
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ("; charset=nonsense", b"token=a"),
        ("; charset=utf-16", b"a"),
        ("", b"\xff\xfe"),
        ("gzip", b"no gzip"),
    ],
)
def test_what_is_no_form_is_said_so(more: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """In one line; it is no failure of ours."""

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        form = "application/x-www-form-urlencoded"
        kind = {"Content-Type": form, "Content-Encoding": more} if more == "gzip" else {"Content-Type": form + more}
        answer = await client.post("/act?action=stop", data=body, headers={**here(client), **kind})
        assert (400, []) == (answer.status, desk.issued)
        assert "Nothing was written" in await answer.text()
        assert "Content-Security-Policy" in answer.headers

    act(work)
    assert "Error handling request" not in caplog.text


def test_a_form_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender is told so."""
    monkeypatch.setattr("streams.console.acting._SENT_WITHIN", 0.05)

    async def work(client: TestClient[Any, Any], _desk: Acting) -> None:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        name = f"{client.host}:{client.port}"
        head = f"POST /act?action=stop HTTP/1.1\r\nHost: {name}\r\nOrigin: http://{name}\r\nContent-Length: 9\r\n"
        writer.write(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\na".encode())
        assert b"HTTP/1.1 408 " == (await asyncio.wait_for(reader.readline(), 20))[:13]
        writer.close()

    act(work)


def test_a_proxy_that_names_another_host_is_named() -> None:
    """Pages work behind it, but no change does: it is said why, with what to do."""

    async def work(client: TestClient[Any, Any], _desk: Acting) -> None:
        for headers in ({}, {"Origin": "https://console.example"}):
            text = await (await client.post("/act?action=stop", data=FORM, headers=headers)).text()
            assert "a proxy must pass both on" in text
        assert "'https://console.example'" in text
        assert str(client.port) in text

    act(work)


def test_wrong_tokens_keep_nobody_out() -> None:
    """However many come: who has the right one is let in, or anybody who can connect could keep everybody from stopping."""

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        async def status(token: str) -> int:
            form = {**FORM, "token": token}
            answer = await client.post("/act?action=stop", data=form, headers=here(client), allow_redirects=False)
            return answer.status

        assert {403} == {await status("wrong") for _ in range(60)}
        assert (303, 1) == (await status(TOKEN), len(desk.issued))

    act(work)


def test_a_stop_needs_no_answer_first() -> None:
    """Where what it would do cannot be told the form is there all the same; anything else is first shown."""

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        desk.problem = BrokerError("this user lacks the right")
        answer = await client.get("/act?action=stop&policy=hate")
        page = await answer.text()
        assert (503, True, True) == (answer.status, "lacks the right" in page, 'method="post"' in page)
        assert "What would be in force" not in page
        desk.problem = ControlError("there is no such outcome")
        for path in ("/act?action=stop&outcome=maybe", "/act?action=resume"):
            assert 'method="post"' not in await (await client.get(path)).text()

    act(work)


def test_a_stop_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the form nor the message, while a broker lets another change wait."""
    monkeypatch.setattr("streams.console.acting._PATIENCE", 0.05)

    async def work(client: TestClient[Any, Any], desk: Acting) -> None:
        desk.may_answer.clear()
        try:
            for path, is_there in (("threshold&threshold=0.1", False), ("stop", True), ("stop", True)):
                page = await asyncio.wait_for((await client.get(f"/act?action={path}")).text(), 10)
                assert is_there == ('method="post"' in page)
            sent = client.post("/act?action=stop", data=FORM, headers=here(client), allow_redirects=False)
            assert 303 == (await asyncio.wait_for(sent, 10)).status
        finally:
            desk.may_answer.set()

    act(work)


def test_what_is_refused_is_said_with_what_is_in_force_now() -> None:
    """And the form stands there again, with what was typed, but for the token."""

    async def work(client: TestClient[Any, Any], _desk: Acting) -> None:
        answer = await client.post("/act?action=threshold&threshold=0.2", data=FORM, headers=here(client))
        page = await answer.text()
        assert 409 == answer.status
        assert "version 4 is in force, not 3" in page
        assert "Nothing has been changed yet" not in page
        assert 'value="wrong removals"' in page
        assert TOKEN not in page

    act(work)


def test_pages_lead_to_changes_where_there_is_a_desk() -> None:
    """Each stop to its end."""

    async def work(client: TestClient[Any, Any], _desk: Acting) -> None:
        for path in PATHS:
            page = await (await client.get(path)).text()
            assert "Read-only" not in page
            assert 'href="/act?action=stop"' in page
        assert 'href="/act?action=undo"' in await (await client.get("/controls")).text()

    act(work)


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
