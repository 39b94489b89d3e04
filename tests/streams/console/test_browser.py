"""The pages in a real browser: what it may load, what axe-core finds, by keyboard, on a phone, live, and a change that is made."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from streams.console.decisions import Asked
from streams.console.desk import Proposal, Token, Wanted
from streams.console.item import Event, Item
from streams.console.read_model import ReadModel
from streams.console.state import Seen, State
from streams.console.web import Console, serve
from streams.pipeline.control_log import Taken
from streams.pipeline.quality.judging import Figures, Reliability
from tests.streams.console.making import COSTS, HOSTILE, NOW, decision, in_force, letter, watched, word
from tests.streams.console.test_pages import named

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
PAGES = (
    "",
    "decisions",
    "item?id=a",
    "threshold",
    "quality",
    "controls?written=3",
    "letters",
    "workers",
    "act?action=stop",
)
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1240, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1240, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
TOKEN = "correct horse battery staple, and a little more"


def busy_fleet() -> ReadModel:
    """One with something on every page: charts, quality, a stop, dead letters, a worker that is gone."""
    fleet = watched(decided=200)
    for number in range(100):
        fleet.decided(decision(f"up-{number}", p=0.4 + number / 200), int(NOW * 1000), NOW - 1, live=True)
    figures = Figures(
        "hate", "an-llm", "ab", judged=9, reliability=[Reliability(9, 0.2, 0.3)], drift={"token_count": 0.3}
    )
    fleet.heard({"one": word(quality=[figures])}, {"one": 1.0}, {"two": "2026-11-26T11:59:00.000Z"})
    since = {"since": 4, "issued_by": "ann", "reason": "wrong removals", "at": None}
    fleet.in_force(in_force(stops={"spam": {"policy": "spam", "tenant": "*", "outcome": "*", **since}}))
    fleet.set_aside(letter("late_response"), NOW, live=True)
    return fleet


class Site:
    """A console, its fleet, which tests may change, and what was asked of its desk."""

    def __init__(self, port: int = 0) -> None:
        self.fleet = busy_fleet()
        self.looked_for: list[str] = []
        self.issued: list[tuple[Wanted, int | None, str, str]] = []
        at: Future[str] = Future()
        desk: Any = self
        console = Console(self, self.find, (), (desk, Token(TOKEN)))

        async def run() -> None:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            serving = asyncio.create_task(serve(console, "127.0.0.1", port, at.set_result))
            await self._ended.wait()
            serving.cancel()
            await asyncio.wait([serving])

        self._thread = threading.Thread(target=lambda: asyncio.run(run()))
        self._thread.start()
        self.at = at.result(10)

    def state(self) -> State:
        return self.fleet.state(NOW)

    def latest(self, asked: Asked, most: int) -> list[Seen]:
        return self.fleet.latest(asked, most)

    def find(self, request_id: str) -> Item:
        self.looked_for.append(request_id)
        said = {"policy": HOSTILE, "predictors": {"one": 0.5}, "drivers": [{"predictor": HOSTILE, "push": 1}]}
        events = [Event("requests", "there 0:1", "12:00", "the request came", said, HOSTILE)]
        return Item(request_id, events, ["a-topic"])

    def propose(self, wanted: Wanted) -> Proposal:
        return Proposal(
            3,
            f"stop_automation policy={wanted.policy}",
            "for every policy",
            [("stop of *", "none", "in force")],
            [HOSTILE],
        )

    def issue(self, wanted: Wanted, seen: int | None, by: str, reason: str) -> Taken:
        self.issued.append((wanted, seen, by, reason))
        return Taken(3, 0, None, is_applied=True)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()


@pytest.fixture
def site(chromium: Browser) -> Iterator[Site]:
    assert chromium
    made = Site()
    yield made
    made.close()


@pytest.fixture
def context(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    look = getattr(request, "param", "light")
    made = chromium.new_context(**LOOKS[look])
    made.set_default_timeout(20_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which nothing may go wrong: no error, no refusal by the content security policy, no dialog of somebody's script."""
    made, wrong = context.new_page(), list[str]()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
    made.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    yield made
    assert [] == wrong


def violations(page: Page) -> list[str]:
    """What axe-core finds, in a line each."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for one in found for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("context", "fleet"),
    [*((look, "busy") for look in LOOKS), ("phone", "hostile"), ("light", "unknown")],
    indirect=["context"],
)
def test_axe_finds_nothing(site: Site, page: Page, fleet: str) -> None:
    """On any page, light and dark, wide and on a phone, where nothing sticks out; what is odd, in the look that it is hardest on."""
    site.fleet = {
        "busy": busy_fleet,
        "hostile": lambda: named(HOSTILE),
        "unknown": lambda: ReadModel("broker:9092", COSTS),
    }[fleet]()
    for path in PAGES:
        page.goto(site.at + path)
        assert [] == violations(page), path
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path


def test_hostile_strings_are_text(site: Site, page: Page) -> None:
    """No element and no script of theirs comes to be, also when a page is put in place while it is looked at."""
    site.fleet = named(HOSTILE)
    for path in PAGES:
        page.goto(site.at + path)
        assert 0 == page.locator("img:not([src='/static/icon.svg']), main script").count(), path
        if "data-still" not in page.content():
            site.fleet.heard({HOSTILE: word(HOSTILE, problem="another"), "new": word("new")}, {}, {HOSTILE: HOSTILE})
            page.wait_for_event("response", lambda answer: answer.request.resource_type == "fetch")
    expect(page.locator("main")).to_contain_text("alert(1)")


def test_it_is_live(site: Site, page: Page) -> None:
    """What changes is put in place, and the word in the title; what is focused and scrolled stays so."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(site.at + "workers")
    region = page.get_by_role("region", name="Workers")
    region.focus()
    region.evaluate("one => { one.scrollLeft = 120; }")
    site.fleet.heard({"another": word("another")}, {"another": 1.0}, {})
    expect(region).to_contain_text("another")
    expect(region).to_be_focused()
    assert 120 == region.evaluate("one => one.scrollLeft")
    site.fleet.heard({}, {}, {})
    expect(page.locator("#word")).to_have_text("down")
    expect(page).to_have_title("down: Workers, secondlook")


def test_what_is_marked_stays_and_is_said_to(site: Site, page: Page) -> None:
    """Else nobody could copy an id; once it is not marked any more, it is as it is."""
    page.goto(site.at + "workers")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#workers h1'))")
    site.fleet.heard({"another": word("another")}, {"another": 1.0}, {})
    expect(page.locator("#held")).to_be_visible()
    expect(page.locator("#workers")).not_to_contain_text("another")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#workers")).to_contain_text("another")
    expect(page.locator("#held")).to_be_hidden()


def test_a_console_that_goes_is_said_and_comes_back(context: BrowserContext) -> None:
    """The page is as it was, says so, and goes on by itself. (The browser tells of what it could not reach as an error of its own.)"""
    site, page = Site(), context.new_page()
    try:
        page.goto(site.at)
        expect(page.locator("#contact")).to_be_hidden()
    finally:
        site.close()
    expect(page.locator("#contact")).to_be_visible(timeout=20_000)
    site = Site(int(site.at.rsplit(":", 1)[1].strip("/")))
    try:
        expect(page.locator("#contact")).to_be_hidden(timeout=20_000)
    finally:
        page.close()
        site.close()


def test_by_keyboard(site: Site, page: Page) -> None:
    """The first stop leads past the navigation; each can be seen; pages, tables and the pause are reached and used."""
    page.goto(site.at)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto(site.at)
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent).trim()"
        )
        if page.evaluate("document.activeElement === document.body"):
            break
        assert "0px" != page.evaluate("getComputedStyle(document.activeElement).outlineWidth"), stop
        stops.append(stop)
    assert {"secondlook", "Pause", "Now", "Decisions", "Workers", "Decisions by policy", "The same as JSON"} <= set(
        stops
    )
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("link", name="Decisions", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/decisions")
    page.get_by_label("An item's whole history").focus()
    page.keyboard.type("id-1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/item?id=id-1")


def test_a_change_is_made(site: Site, page: Page) -> None:
    """From the button on every page, through what it would do, to what is in force; the browser says whence the form comes."""
    page.goto(site.at)
    page.get_by_role("link", name="Stop automation").click()
    expect(page.locator("main")).to_contain_text("Nothing has been changed yet")
    page.get_by_label("who you are").fill("ana")
    page.get_by_label("why").fill("wrong removals")
    page.get_by_label("token").fill(TOKEN)
    page.get_by_role("button", name="Stop automation").click()
    page.wait_for_url("**/controls?written=4")
    expect(page.locator("main")).to_contain_text("Version 4 is written")
    assert [(Wanted("stop"), 3, "ana", "wrong removals")] == site.issued


def test_a_wrong_token_changes_nothing(site: Site, context: BrowserContext) -> None:
    """What was typed stands there again, but for the token. (The browser tells of the 403 as an error of its own.)"""
    page = context.new_page()
    page.goto(site.at + "act?action=stop")
    page.get_by_label("who you are").fill("ana")
    page.get_by_label("why").fill("wrong removals")
    page.get_by_label("token").fill("a guess")
    page.get_by_role("button", name="Stop automation").click()
    expect(page.get_by_role("alert").locator("visible=true")).to_contain_text("not the token")
    expect(page.get_by_label("why")).to_have_value("wrong removals")
    expect(page.get_by_label("token")).to_have_value("")
    assert [] == site.issued


@pytest.fixture
def elsewhere(site: Site) -> Iterator[str]:
    """A page of somebody's: a form that knows the token, a picture of an item."""
    form = f'<form method="post" action="{site.at}act?action=stop"><input name="token" value="{TOKEN}"><input name="by" value="eve"><button>go</button></form>'
    body = f'<!doctype html>{form}<img src="{site.at}item?id=a">'.encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is to be said of it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_from_elsewhere_changes_and_reads_nothing(site: Site, elsewhere: str, context: BrowserContext) -> None:
    """Neither by a picture, nor by a form that somebody is led to send."""
    page = context.new_page()
    with page.expect_event("requestfailed", lambda asked: "/item" in asked.url):  # of what it may not read
        page.goto(elsewhere)
    assert [] == site.looked_for
    with page.expect_response(lambda answer: "/act" in answer.url) as sent:
        page.get_by_role("button").click()
    assert (403, []) == (sent.value.status, site.issued)


def test_without_scripts_it_is_all_there(site: Site, chromium: Browser) -> None:
    """Pages then load anew by themselves."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.at)
    expect(page.locator("#figures")).to_contain_text("Decisions a second")
    assert 'http-equiv="refresh"' in page.content()
    context.close()
