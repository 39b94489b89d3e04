"""Running the demo: broker, worker, producer, reader and the control message half-way."""

import contextlib
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.live import Live

from scoring import RECORDING, is_held_out, load_model, read_recording
from streams.brokers.embedded import EmbeddedBroker
from streams.demo.ledger import MISTAKE_COST, REVIEW_COST, Ledger
from streams.demo.traffic import Script, write_script
from streams.demo.view import progress, result
from streams.errors import StreamError
from streams.kafka.clients import Consumed, base_config, reader_config, topic_names
from streams.kafka.publishing import publish_control
from streams.kafka.topics import create_topics, load_topics
from streams.pipeline.control_content import EVERY_POLICY
from streams.pipeline.control_messages import SetThreshold
from streams.pipeline.dead_letters import ERROR_CODE
from streams.settings import Settings
from streams.worker.processes import WorkerProcess

THRESHOLD_AFTER = 0.05
"""Set half-way, as after an incident: act only on verdicts that are almost certainly right."""

RESPONSE_TIMEOUT = 4.0
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
            stack.enter_context(_borrowed_topics(settings, prefix))
        settings = replace(settings, topic_prefix=prefix)
        console.print(
            f"Replaying {len(script.items)} recorded LLM answers, none of which the model was trained on, through a "
            f"worker on {where} ({settings.delivery.replace('_', ' ')})."
        )
        worker = stack.enter_context(WorkerProcess(_worker_settings(settings), kafka=settings.kafka))
        worker.wait_for("assigned")
        ledger = _Demo(settings, script, worker).run(console)
        console.print(f"The worker ended with exit code {worker.terminate()}.\n")
    figures = ledger.figures()
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


@contextlib.contextmanager
def _borrowed_topics(settings: Settings, prefix: str) -> Iterator[None]:
    """Topics of the demo's own on somebody's cluster, removed again."""
    topics = load_topics(prefix)
    create_topics(base_config(settings), topics)
    try:
        yield
    finally:
        admin = AdminClient(base_config(settings))  # must outlive the answers
        for deleted in admin.delete_topics([topic.name for topic in topics.values()]).values():
            deleted.result(30)


class _Demo:
    """One run: the calling thread sends and draws, another reads what comes out."""

    def __init__(self, settings: Settings, script: Script, worker: WorkerProcess) -> None:
        self._settings = settings
        self._names = topic_names(load_topics(settings.topic_prefix))
        self._script = script
        self._worker = worker
        self._ledger = Ledger(script)
        self._failure: Exception | None = None
        self._done = threading.Event()
        self._swapped = False

    def run(self, console: Console) -> Ledger:
        """Send everything, wait for everything, and return the books."""
        reader = threading.Thread(target=self._guarded, args=(self._read,), daemon=True)
        reader.start()
        started = time.monotonic()
        with Live(console=console, refresh_per_second=1 / _REDRAW, transient=True) as live:
            self._send(lambda: self._draw(live, started))
            deadline = time.monotonic() + RESPONSE_TIMEOUT + _QUIET
            while self._ledger.lost and time.monotonic() < deadline:
                time.sleep(_REDRAW)
                self._draw(live, started)
            time.sleep(1)  # what would be decided twice shows itself now
        self._done.set()
        reader.join()
        if self._failure is not None:
            raise self._failure
        return self._ledger

    def _draw(self, live: Live, started: float) -> None:
        if self._worker.exit_code is not None:
            raise StreamError(f"the worker ended with exit code {self._worker.exit_code}: {self._worker.last_words()}")
        if self._failure is not None:
            raise self._failure
        live.update(progress(self._ledger, time.monotonic() - started, swapped=self._swapped))

    def _send(self, draw: Callable[[], None]) -> None:
        producer = Producer({**base_config(self._settings), "linger.ms": 5, "compression.type": "lz4"})
        started, drawn = time.monotonic(), 0.0
        half = self._script.seconds / 2
        for send in self._script.sends:
            while (wait := started + send.at - time.monotonic()) > 0:
                producer.poll(min(wait, 0.02))
            if not self._swapped and send.at >= half:
                self._swapped = True
                publish_control(
                    self._settings, SetThreshold(policy=EVERY_POLICY, threshold=THRESHOLD_AFTER, issued_by="demo")
                )
            self._ledger.sent(send.key.decode(), time.monotonic())
            producer.produce(self._names[send.topic], send.value, send.key)
            if time.monotonic() - drawn > _REDRAW:
                drawn = time.monotonic()
                draw()
        producer.flush(10)

    def _read(self) -> None:
        consumer = Consumer({**reader_config(self._settings), "fetch.wait.max.ms": 10})
        topics = load_topics(self._settings.topic_prefix)
        consumer.assign(
            [
                TopicPartition(topics[key].name, partition)
                for key in ("auto_action", "human_review", "dead_letter")
                for partition in range(topics[key].partitions)
            ]
        )
        while not self._done.is_set():
            message: Consumed
            for message in consumer.consume(100, timeout=0.01):
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                        raise StreamError(f"cannot read the decisions: {error.str()}")
                elif message.topic() == topics["dead_letter"].name:
                    code = dict(message.headers() or [])[ERROR_CODE]
                    self._ledger.dead.append((message.key().decode(), code.decode()))
                else:
                    self._ledger.decided(orjson.loads(message.value()), time.monotonic())
        consumer.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - raised again in the thread that waits
            self._failure = problem


def write_figures(figures: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON, whole or not at all."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        file.write(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    Path(file.name).replace(path)
