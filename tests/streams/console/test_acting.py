"""Changes from the browser, without a broker: who may make them, what is shown before and said after."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from streams.console.desk import THRESHOLD, Proposal, Token, Wanted
from streams.console.web import Console
from streams.errors import BrokerError, ControlError
from streams.pipeline.control_log import Taken
from tests.streams.console.browsing import PATHS, TOKEN, Source, browse, found
from tests.streams.console.making import HOSTILE


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
