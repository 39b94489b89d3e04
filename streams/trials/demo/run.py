"""Running the demo: broker, worker, producer, reader and the control message half-way."""

import contextlib
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer
from rich.console import Console
from rich.live import Live

from scoring import RECORDING, is_held_out, load_model, read_recording
from streams.contracts.headers import ERROR_CODE
from streams.errors import StreamError
from streams.kafka.clients import Consumed, base_config
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_messages import SetThreshold
from streams.pipeline.scope import EVERY
from streams.settings import Settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.demo.books import MISTAKE_COST, REVIEW_COST, Books
from streams.trials.demo.traffic import Script, write_script
from streams.trials.demo.view import progress, result
from streams.trials.outputs import OUTPUTS, OutputReader
from streams.trials.topics import own_topics
from streams.trials.worker_process import WorkerProcess

THRESHOLD_AFTER = 0.05
"""Set half-way, as after an incident: act only on verdicts that are almost certainly right."""

RESPONSE_TIMEOUT = 4.0
_SWAP_WITHIN = 2.0
"""Seconds that sending waits for the swap at most: no answer must become late over it."""
_QUIET = 3.0
"""Seconds beyond the response timeout to wait for decisions that may still come."""

_REDRAW = 0.25


def run_demo(settings: Settings, *, embedded: bool, rate: float, limit: int | None, console: Console) -> dict[str, Any]:
    """Run it and return its figures. Raises StreamError when the worker or the broker gives up."""
    load_model(settings.model)  # a model that is missing is said before anything is started
    items = [item for item in read_recording(RECORDING) if is_held_out(item.request["request_id"])][:limit]
    script = write_script(items, rate=rate)
    prefix = f"demo-{uuid.uuid4().hex[:6]}."
    with contextlib.ExitStack() as stack:
        if embedded:
            topics = load_topics(prefix)
            broker = stack.enter_context(EmbeddedBroker(topics.values()))
            settings = replace(settings, broker=broker.bootstrap, delivery="at_least_once")
            where = "the embedded broker"
        else:
            where = settings.broker
            stack.enter_context(own_topics(replace(settings, topic_prefix=prefix)))
        settings = replace(settings, topic_prefix=prefix)
        console.print(
            f"Replaying {len(script.items)} recorded LLM answers, none of which the model was trained on, through a "
            f"worker on {where} ({settings.delivery.replace('_', ' ')})."
        )
        worker = stack.enter_context(WorkerProcess(_worker_settings(settings), kafka=settings.kafka))
        worker.wait_for("assigned")
        books = _Demo(settings, script, worker).run(console)
        console.print(f"The worker ended with exit code {worker.terminate()}.\n")
    figures = books.figures()
    console.print(result(figures))
    return figures


def _worker_settings(settings: Settings) -> dict[str, Any]:
    names = ("broker", "delivery", "topic_prefix", "model")
    return {
        **{name: getattr(settings, name) for name in names},
        "response_timeout": RESPONSE_TIMEOUT,
        "cost_review": REVIEW_COST,
        "cost_mistake": MISTAKE_COST,
        "web_port": 0,
    }


class _Demo:
    """One run: the calling thread sends and draws, another reads what comes out."""

    def __init__(self, settings: Settings, script: Script, worker: WorkerProcess) -> None:
        self._settings = settings
        self._names = topic_names(load_topics(settings.topic_prefix))
        self._script = script
        self._worker = worker
        self._books = Books(script)
        self._reader = OutputReader(settings, self._take, (*OUTPUTS, "control_status"))
        self._in_force = threading.Event()
        self._swapped = False

    def run(self, console: Console) -> Books:
        """Send everything, wait for everything, and return the books."""
        started = time.monotonic()
        with (
            ThreadPoolExecutor(1) as pool,
            Live(console=console, refresh_per_second=1 / _REDRAW, transient=True) as live,
        ):
            reading = pool.submit(self._reader.run)
            try:
                self._send(lambda: self._draw(live, started, reading))
                deadline = time.monotonic() + RESPONSE_TIMEOUT + _QUIET
                while self._books.lost and time.monotonic() < deadline:
                    time.sleep(_REDRAW)
                    self._draw(live, started, reading)
                time.sleep(1)  # what would be decided twice shows itself now
            finally:
                self._reader.stop()
            reading.result()
        return self._books

    def _draw(self, live: Live, started: float, reading: Future[None]) -> None:
        if self._worker.exit_code is not None:
            raise StreamError(f"the worker ended with exit code {self._worker.exit_code}: {self._worker.last_words()}")
        if reading.done():
            reading.result()
        live.update(progress(self._books, time.monotonic() - started, swapped=self._swapped))

    def _send(self, draw: Callable[[], None]) -> None:
        producer = Producer({**base_config(self._settings), "linger.ms": 5, "compression.type": "lz4"})
        started, drawn = time.monotonic(), 0.0
        half = self._script.seconds / 2
        for send in self._script.sends:
            while (wait := started + send.at - time.monotonic()) > 0:
                producer.poll(min(wait, 0.02))
            if not self._swapped and send.at >= half:
                producer.flush(10)
                started += self._swap(self._script.answered_before(half))
            self._books.sent(send.key.decode(), time.monotonic())
            producer.produce(self._names[send.topic], send.value, send.key)
            if time.monotonic() - drawn > _REDRAW:
                drawn = time.monotonic()
                draw()
        producer.flush(10)

    def _swap(self, answered: set[str]) -> float:
        """Change the threshold between two records; the seconds that it took.

        What was answered before is decided under the old one and all else under the new one, so that every run comes to the
        same figures.
        """
        began = time.monotonic()
        self._wait(lambda: self._books.decisions.keys() >= answered)
        self._swapped = True
        publish_control(self._settings, SetThreshold(policy=EVERY, threshold=THRESHOLD_AFTER, issued_by="demo"))
        self._wait(self._in_force.is_set)
        return time.monotonic() - began

    @staticmethod
    def _wait(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SWAP_WITHIN / 2
        while not done() and time.monotonic() < deadline:
            time.sleep(0.005)

    def _take(self, role: str, message: Consumed, at: float) -> None:
        if role == "dead_letter":
            code = dict(message.headers() or [])[ERROR_CODE]
            self._books.dead.append(((message.key() or b"").decode(), (code or b"").decode()))
            return
        content = orjson.loads(message.value() or b"")
        if role != "control_status":
            self._books.decided(content, at)
        elif content["control_version"] >= self._books.swap_version:
            self._in_force.set()


def write_figures(figures: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON, whole or not at all."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        file.write(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    Path(file.name).replace(path)
