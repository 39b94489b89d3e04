"""The pictures of the console in docs/console/, of states that were recorded of two workers at work on recorded answers.

`python -m docs.screenshots record` runs these workers on the embedded broker, with traffic and humans who decide as the recording's labels say, brings
about what the pictures show, and writes each state down (docs/console/states). `python -m docs.screenshots` (`make screenshots`) draws the pages of
these states in a headless Chromium. Beside the pictures stands a digest of each page: a test draws none, but fails where a page has changed since.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import Browser, Route, sync_playwright

from streams.cli.console import costs_of
from streams.console import pages
from streams.console.decisions import Asked
from streams.console.desk import THRESHOLD, Desk, Proposal, Wanted
from streams.console.feed import Feed
from streams.console.item import Item, find_item
from streams.console.state import State, encode_state
from streams.errors import StreamError
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics
from streams.pipeline.control_limits import SetRiskBound
from streams.pipeline.control_messages import SetAuditRate, SetThreshold
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.steady import Steady
from streams.trials.worker_process import WorkerProcess

OUT: Final = Path(__file__).parent / "console"
STATES: Final = OUT / "states"
DIGESTS: Final = OUT / "pages.json"
_RATE: Final = 60.0
_WIDE, _PHONE = 1240, 390
_TALLEST: Final = 1000
_WANTED: Final = Wanted(THRESHOLD, threshold="0.3")
_QUALITY: Final = 82
"""Of WebP: a page of text stays sharp."""


class Picture(NamedTuple):
    """A page of a recorded state."""

    name: str
    state: str
    page: str = "now"
    width: int = _WIDE
    dark: bool = False
    tallest: int = _TALLEST


PICTURES: Final = (
    Picture("now", "load", tallest=970),
    Picture("now-dark", "load", dark=True, tallest=970),
    Picture("now-phone", "load", width=_PHONE),
    Picture("threshold", "load", "threshold", tallest=900),
    Picture("quality", "load", "quality"),
    Picture("workers", "load", "workers"),
    Picture("controls", "load", "controls"),
    Picture("item", "load", "item", tallest=1700),
    Picture("change", "load", "act", tallest=820),
    Picture("empty", "empty", tallest=640),
    Picture("worker-down", "worker-down", tallest=420),
    Picture("split", "split", tallest=420),
    Picture("split-controls", "split", "controls", tallest=640),
    Picture("broker-away", "broker-away", tallest=420),
    Picture("risk-breached", "risk-breached", tallest=420),
    Picture("risk-breached-quality", "risk-breached", "quality", tallest=640),
)


def find_chromium() -> str:
    """The Chromium of this machine. Raises StreamError where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    raise StreamError("no Chromium is installed (Debian: apt-get install chromium)")


def html_of(one: Picture) -> str:
    """The page, of the recorded state."""
    state = msgspec.json.decode((STATES / f"{one.state}.json").read_bytes(), type=State)
    if one.page == "item":
        item = msgspec.json.decode((STATES / "item.json").read_bytes(), type=Item)
        return pages.item(state, item, item.request_id)
    if one.page == "act":
        return pages.act(state, _WANTED, msgspec.json.decode((STATES / "proposal.json").read_bytes(), type=Proposal))
    page: Callable[[State], str] = getattr(pages, one.page)
    return page(state)


def digest_of(one: Picture) -> str:
    """Of all that the picture is drawn of: the page, its style and script, and how."""
    parts = [html_of(one), *(static(name) for name in ("console.css", "console.js", "icon.svg")), repr(one)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def static(name: str) -> str:
    """A file that pages load."""
    return resources.files("streams.console").joinpath(f"static/{name}").read_text()


def draw(browser: Browser, one: Picture) -> bytes:
    """The picture, as WebP."""
    scheme: Literal["dark", "light"] = "dark" if one.dark else "light"
    with contextlib.closing(
        browser.new_context(viewport={"width": one.width, "height": 900}, color_scheme=scheme)
    ) as context:
        page = context.new_page()
        page.route("**/*", lambda route: _answer(route, one))
        page.goto("http://console.example/")
        height = min(one.tallest, int(page.evaluate("document.documentElement.scrollHeight")))
        clip = {"x": 0, "y": 0, "width": one.width, "height": height, "scale": 1}
        asked = {"format": "webp", "quality": _QUALITY, "clip": clip, "captureBeyondViewport": True}
        return b64decode(context.new_cdp_session(page).send("Page.captureScreenshot", asked)["data"])


def _answer(route: Route, one: Picture) -> None:
    path = urlsplit(route.request.url).path
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    if path.startswith("/static/"):
        route.fulfill(body=static(path.removeprefix("/static/")), content_type=kinds[Path(path).suffix])
    elif path == "/events":
        route.fulfill(body="event: tick\ndata: 0\n\n", content_type="text/event-stream")
    else:
        route.fulfill(body=html_of(one), content_type="text/html; charset=utf-8")


def draw_all() -> None:
    """Every picture anew, and what it was drawn of."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for one in PICTURES:
            (OUT / f"{one.name}.webp").write_bytes(draw(browser, one))
        browser.close()
    DIGESTS.write_text(json.dumps({one.name: digest_of(one) for one in PICTURES}, indent=1) + "\n")


@contextlib.contextmanager
def _feed(settings: Settings) -> Iterator[Feed]:
    feed = Feed(settings, costs_of(settings))
    feed.start()
    try:
        yield feed
    finally:
        feed.close()


def record() -> None:
    """Bring about each state on a running fleet, and write it down."""
    STATES.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(load_topics().values()))
        settings = load_settings({"broker": broker.bootstrap, "delivery": "at_least_once"}, environ={})
        publish_control(settings, SetAuditRate(policy="*", rate=0.3, issued_by="ann", reason="the first weeks"))
        publish_control(
            settings, SetThreshold(policy="*", threshold=0.4, issued_by="ann", reason="half the reviews of last week")
        )
        options = {"broker": broker.bootstrap, "delivery": "at_least_once", "response_timeout": 8.0, "web_port": 0}

        def worker(name: str, **more: float) -> WorkerProcess:
            started = stack.enter_context(WorkerProcess({**options, "instance_id": name, **more}))
            started.wait_for("assigned")
            return started

        worker("worker-0")
        second = worker("worker-1")
        feed = stack.enter_context(_feed(settings))
        _keep("empty", _once(feed, "quiet", 60))
        traffic = Steady(settings, _RATE)
        traffic.start()
        stack.callback(traffic.stop)
        time.sleep(15)  # the embedded broker keeps little: of an item all is there for half a minute
        (one,) = feed.latest(Asked(reason="above_threshold"), 1)
        item = find_item(settings, one.decision.request_id, content=False, within=20.0)
        (STATES / "item.json").write_bytes(msgspec.json.encode(item))
        time.sleep(75)
        _keep("load", feed.state())
        proposal = Desk(settings, None).propose(_WANTED)
        (STATES / "proposal.json").write_bytes(msgspec.json.encode(proposal))
        certified = SetRiskBound(
            policy="*",
            max_risk=0.02,
            confidence=0.95,
            threshold=0.5,
            labels=900,
            automated=400,
            errors=1,
            labels_sha256="0" * 64,
            sample="audits",
            model=feed.state().workers[0].model or "",
            issued_by="ann",
            reason="at most 2 % wrong",
        )
        publish_control(settings, certified)
        _keep("risk-breached", _once(feed, "risk breached", 240))
        publish_control(
            settings, SetThreshold(policy="*", threshold=0.3, issued_by="ann", reason="less is automated meanwhile")
        )
        second.kill()
        _keep("worker-down", _once(feed, "short of workers", 60))
        worker("worker-1", cost_review=0.3)
        _keep("split", _once(feed, "split", 60))
        broker.set_down()
        _keep("broker-away", _once(feed, "blind", 60))
        broker.set_up()


def _once(feed: Feed, word: str, seconds: float) -> State:
    """The state once this word is the first; a little later, so that all of it is in it."""
    deadline = time.monotonic() + seconds
    while (state := feed.state()).word.word != word:
        if time.monotonic() > deadline:
            raise StreamError(f"after {seconds:g} s it is not {word!r}, but {[one.word for one in state.findings]}")
        time.sleep(0.5)
    time.sleep(3)
    return feed.state()


def _keep(name: str, state: State) -> None:
    (STATES / f"{name}.json").write_bytes(encode_state(state) + b"\n")
    print(name, [one.word for one in state.findings])  # noqa: T201 - a script that prints


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    draw_all()
