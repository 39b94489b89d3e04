"""The stress test's two ends of Kafka: what sends the plan, and what enters all that comes of it into the books."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaError, Producer

from streams.errors import StreamError
from streams.kafka.clients import Consumed, base_config
from streams.kafka.reading import ends, read_once
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.pending import CHANGELOG
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.settings import Settings
from streams.trials.odd_headers import OddProducer
from streams.trials.stress.books import Books
from streams.trials.stress.plan import FURTHEST, Kind, Plan, index_of, key

_LONG_PAUSE = 2.0
_WAIT = 0.02
_FLUSH_TIMEOUT = 120.0


class Sender:
    """Sends the plan in its order: no faster than `rate`, no further ahead of the decisions than `window`."""

    def __init__(
        self, settings: Settings, plan: Plan, books: Books, *, rate: float, window: int, late_after: float
    ) -> None:
        self._names = topic_names(load_topics(settings.topic_prefix))
        self._plan = plan
        self._books = books
        self._rate = rate
        self._window = window
        self._late_after = late_after
        self._failed: list[str] = []
        self._requested_at: dict[int, float] = {}
        self.requests = 0
        self._kinds: list[int] = plan.kinds.tolist()
        self._indices: list[int] = plan.indices.tolist()
        self._odd = OddProducer(settings)
        self._done = bytearray(len(self._kinds))
        self._begun = bytearray(plan.requests)
        self._producer = Producer(
            {
                "linger.ms": 20,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "reconnect.backoff.max.ms": 500,
                **base_config(settings),
                "enable.idempotence": True,
                "on_delivery": self._on_delivery,
                "delivery.report.only.error": True,
            }
        )

    def run(self, allowed: Callable[[], float], meanwhile: Callable[[], None]) -> None:
        """Send everything and wait until it is stored; `meanwhile` is called many times a second.

        Raises StreamError when a record could not be stored.
        """
        started = time.monotonic()
        for place, kind in enumerate(self._kinds):
            if kind == Kind.REQUEST and not self._done[place]:
                paused = time.monotonic()
                while self._too_fast(started) or self.requests >= allowed() * self._plan.requests:
                    self._pause(meanwhile)
                    if time.monotonic() - paused > _LONG_PAUSE:
                        self._finish_begun(place)
            self._send_place(place)
        while self._requested_at:
            self._pause(meanwhile)
        if self._producer.flush(_FLUSH_TIMEOUT):
            raise StreamError(f"the broker did not take all records within {_FLUSH_TIMEOUT:g} s")
        self._odd.flush(_FLUSH_TIMEOUT)
        self._odd.close()
        self._check()

    def _finish_begun(self, place: int) -> None:
        """Send the rest of whatever has been sent in part: a pause must not make a response late."""
        for ahead in range(place, min(place + FURTHEST, len(self._kinds))):
            if self._begun[self._indices[ahead]]:
                self._send_place(ahead)

    def _send_place(self, place: int) -> None:
        if self._done[place]:
            return
        self._done[place] = self._begun[self._indices[place]] = 1
        self.requests += self._kinds[place] == Kind.REQUEST
        self._send(self._kinds[place], self._indices[place])

    def _too_fast(self, started: float) -> bool:
        behind = self.requests - self._books.decided >= self._window
        return behind or self.requests >= (time.monotonic() - started) * self._rate

    def _pause(self, meanwhile: Callable[[], None]) -> None:
        self._producer.poll(_WAIT)
        self._check()
        self._send_late()
        meanwhile()

    def _send(self, kind: int, index: int) -> None:
        topic, key, value, headers, odd_names = self._plan.send(kind, index)
        now = time.monotonic()
        if kind != Kind.EXTRA:
            self._books.sent(index, now)
        if kind == Kind.REQUEST and self._plan.is_late(index):
            self._requested_at[index] = now
        if odd_names:
            self._odd.send(self._names[topic], key, value, *odd_names)
            return
        while True:
            try:
                self._producer.produce(self._names[topic], value, key, headers=headers)  # type: ignore[arg-type] # list is invariant
            except BufferError:
                self._producer.poll(_WAIT)
            else:
                return

    def _send_late(self) -> None:
        due = time.monotonic() - self._late_after
        while self._requested_at:
            index, at = next(iter(self._requested_at.items()))
            if at > due:
                return
            del self._requested_at[index]
            self._send(Kind.RESPONSE, index)

    def _on_delivery(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _check(self) -> None:
        if self._failed:
            raise StreamError(f"{len(self._failed)} records could not be sent, the first: {self._failed[0]}")


def into(books: Books) -> Callable[[str, Consumed, float], None]:
    """Enters what was read from an output topic into the books."""

    def take(role: str, message: Consumed, at: float) -> None:
        if role == "dead_letter":
            books.dead_letter(message.key(), message.value(), message.headers())
        else:
            books.decision(role, message.key(), message.value() or b"", message.headers(), at)

    return take


def changelog_keys(settings: Settings) -> dict[tuple[int, int], bytes | None]:
    """The key of every record in the changelog, by partition and offset. Raises BrokerError."""
    return {(one.partition(), one.offset()): one.key() for one in _stored(settings, CHANGELOG)}


def stored_apart(settings: Settings, seconds: float) -> set[int]:
    """The requests that are as many `seconds` from their response, by the times that the broker gave both. Raises BrokerError."""
    requests, responses = _stored_at(settings, REQUESTS), _stored_at(settings, RESPONSES)
    return {
        index
        for index in requests.keys() & responses.keys()
        if abs(requests[index] - responses[index]) >= seconds * 1000
    }


def answers_stored(settings: Settings) -> set[int]:
    """The requests whose answer stands in Kafka. Raises BrokerError."""
    return set(_stored_at(settings, RESPONSES))


def _stored_at(settings: Settings, role: str) -> dict[int, int]:
    """When the broker stored the first record of each request in this topic (ms)."""
    times: dict[int, int] = {}
    for one in _stored(settings, role):
        index = index_of(one.key())
        if index is not None and one.key() == key(index) and one.value() is not None:
            times.setdefault(index, one.timestamp()[1])
    return times


def _stored(settings: Settings, role: str) -> Iterator[Consumed]:
    topic = load_topics(settings.topic_prefix)[role]
    return read_once(settings, topic.name, ends(settings, topic.name, range(topic.partitions)))
