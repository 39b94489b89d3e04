"""`python -m docs.screenshots` makes the pictures of the console in docs/console/: of two workers at work on recorded answers, in a headless Chromium.

The embedded broker, the workers and the console are started for this, traffic is sent for a while, and humans decide as the recording's labels
say. What is to be seen in the pictures is what a user would see; only the names of the requests are made up.
"""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from streams.cli.console import costs_of
from streams.console.decisions import Asked
from streams.console.feed import Feed
from streams.console.item import find_item
from streams.console.web import Console, serve
from streams.errors import StreamError
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import SetAuditRate, SetThreshold
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.steady import Steady
from streams.trials.worker_process import WorkerProcess

OUT: Final = Path(__file__).parent / "console"
_RATE: Final = 60.0
_SECONDS: Final = 75.0
_WIDE, _PHONE = (1240, 900), (390, 844)
_PICTURES: Final = (
    ("now", "", _WIDE, False),
    ("now-dark", "", _WIDE, True),
    ("now-phone", "", _PHONE, False),
    ("threshold", "threshold", _WIDE, False),
    ("quality", "quality", _WIDE, False),
    ("workers", "workers", _WIDE, False),
    ("controls", "controls", _WIDE, False),
    ("letters", "letters", _WIDE, False),
    ("decisions", "decisions", _WIDE, False),
)
"""Each picture's name, its page, its size, and whether it is dark."""
KEPT: Final = ("now", "now-dark", "threshold", "item")
"""The pictures that the docs show."""


@contextlib.contextmanager
def fleet() -> Iterator[Settings]:
    """Two workers on the embedded broker, with traffic."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(load_topics().values()))
        settings = load_settings({"broker": broker.bootstrap, "delivery": "at_least_once"}, environ={})
        publish_control(settings, SetAuditRate(policy="*", rate=0.2, issued_by="ann", reason="the first weeks"))
        publish_control(
            settings, SetThreshold(policy="*", threshold=0.4, issued_by="ann", reason="half the reviews of last week")
        )
        options = {"broker": broker.bootstrap, "delivery": "at_least_once", "response_timeout": 8.0, "web_port": 0}
        for name in ("worker-0", "worker-1"):
            worker = stack.enter_context(WorkerProcess({**options, "instance_id": name}))
            worker.wait_for("assigned")
        traffic = Steady(settings, _RATE)
        traffic.start()
        stack.callback(traffic.stop)
        yield settings


@contextlib.contextmanager
def console(settings: Settings) -> Iterator[tuple[str, Feed]]:
    """The console's address, and what it is fed by."""
    feed = Feed(settings, costs_of(settings))
    feed.start()
    at: Future[str] = Future()
    loop = asyncio.new_event_loop()
    find = partial(find_item, settings, content=False, within=20.0)
    serving = loop.create_task(serve(Console(feed, find), "127.0.0.1", 0, at.set_result))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([serving])), daemon=True)
    thread.start()
    try:
        yield at.result(10), feed
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(5)
        feed.close()


def browser() -> str:
    """The Chromium of this machine. Raises StreamError where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    raise StreamError("no Chromium is installed that could make pictures (Debian: apt-get install chromium)")


def picture(program: str, address: str, file: Path, size: tuple[int, int], *, dark: bool = False) -> None:
    """Make a picture of a page. Raises StreamError where the browser makes none."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={file}",
            address,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own program
    if not file.exists():
        raise StreamError(f"no picture of {address}: {done.stderr[-500:]}")


def main(out: Path) -> None:
    """Make them."""
    program = browser()
    out.mkdir(parents=True, exist_ok=True)
    with fleet() as settings, console(settings) as (address, feed):
        time.sleep(_SECONDS)
        for name, page, size, dark in _PICTURES:
            picture(program, address + page, out / f"{name}.png", size, dark=dark)
        (one,) = feed.latest(Asked(reason="above_threshold"), 1)
        picture(program, f"{address}item?id={one.decision.request_id}", out / "item.png", _WIDE)
        print(msgspec.json.encode(feed.state().findings).decode())  # noqa: T201 - a script that prints


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as every:
            main(Path(every))
            OUT.mkdir(exist_ok=True)
            for kept in KEPT:
                shutil.copy(Path(every) / f"{kept}.png", OUT)
