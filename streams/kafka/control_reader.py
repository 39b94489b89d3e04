"""The control reader: every worker reads the whole control topic for itself, then follows it.

It belongs to no group, because a group would share the messages out instead of giving each worker all of them.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer

from scoring import ErrorModel
from streams.errors import ControlError
from streams.kafka.clients import Consumed, base_config, consume, reader_config
from streams.kafka.clock import BrokerClock
from streams.kafka.reading import ends, read_to_end
from streams.pipeline.controls import Controls, apply_control, parse_control
from streams.pipeline.routing import rfc3339
from streams.settings import Settings

log = logging.getLogger(__name__)

_FIRST_FLUSH = 2.0
_ALIVE_EVERY = 60.0
"""Seconds between two statuses that say no more than that the worker is there; their stamps tell the brokers' clock."""


class ControlReader:
    """Holds the controls in force (`current`), swapped whole by its thread as messages arrive."""

    def __init__(
        self,
        settings: Settings,
        names: Mapping[str, str],
        initial: Controls,
        load_model: Callable[[str], ErrorModel],
        worker: str,
        clock: BrokerClock,
    ) -> None:
        self._clock = clock
        self.current = initial
        self.ready = False
        self._echoed_at = time.monotonic()
        self.applied = 0
        self.refused = 0
        self._failure: Exception | None = None
        self._settings, self._topic, self._status_topic = settings, names["control"], names["control_status"]
        self._load_model = load_model
        self._worker = worker
        self._stopping = threading.Event()
        self._consumer = Consumer(reader_config(settings))
        self._producer = Producer({**base_config(settings), "linger.ms": 0})
        self._thread = threading.Thread(target=self._follow, name="controls", daemon=True)

    def start(self) -> None:
        """Read to the end, so that the first decision is made under the controls in force; then follow. Blocking."""
        until = ends(self._settings, self._topic, [0])
        for message in read_to_end(self._consumer, self._topic, until):
            self._take(message)
        self._echo({"event": "started", "applied": True})
        self._producer.flush(_FIRST_FLUSH)  # the first batch should know the brokers' clock
        self.ready = True
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the reader, if anything did: deciding on without controls would be deciding blindly."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop following."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2)
        self._producer.flush(1)

    def _follow(self) -> None:
        try:
            while not self._stopping.is_set():
                for message in consume(self._consumer, 100, 0.1):
                    self._read(message)
                if time.monotonic() - self._echoed_at > _ALIVE_EVERY:
                    self._echo({"event": "alive", "applied": True})
                self._producer.poll(0)
        except Exception as problem:  # the thread's last act: the worker looks here and stops
            self._failure = problem
            raise
        finally:
            self._consumer.close()

    def _read(self, message: Consumed) -> None:
        error = message.error()
        if error is None:
            self._take(message)
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            log.warning("controls: %s", error.str(), extra={"code": error.name()})

    def _take(self, message: Consumed) -> None:
        """Apply one message, or keep what is in force and say why."""
        offset = message.offset()
        try:
            self.current = apply_control(self.current, parse_control(message.value()), self._load_model)
        except ControlError as problem:
            self.refused += 1
            log.error("control message refused: %s", problem, extra={"offset": offset})
            answer = {"event": "refused", "offset": offset, "applied": False, "error": str(problem)}
        else:
            self.applied += 1
            log.info("control message applied", extra={"offset": offset, "version": self.current.version})
            answer = {"event": "applied", "offset": offset, "applied": True}
        if self.ready:
            self._echo(answer)

    def _echo(self, answer: Mapping[str, object]) -> None:
        """Say on control-status what this worker did and what it has in force now."""
        controls = self.current
        status = {
            "worker": self._worker,
            **answer,
            "control_version": controls.version,
            "thresholds": dict(controls.thresholds),
            "audit_rates": dict(controls.audit_rates),
            "model": controls.model.sha256,
            "at": rfc3339(self._clock.now()),
        }
        sent_at = time.time()

        def stored(error: KafkaError | None, message: Message) -> None:
            if error is None:
                kind, stamp = message.timestamp()
                self._clock.stamped(kind, stamp, sent_at, time.time())

        self._echoed_at = time.monotonic()
        self._producer.produce(self._status_topic, orjson.dumps(status), self._worker.encode(), on_delivery=stored)
        self._producer.poll(0)
