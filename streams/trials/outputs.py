"""Reads what comes out of the stream: committed decisions and dead letters, all of them from the first one on."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from streams.errors import StreamError
from streams.kafka.clients import Consumed, consume, reader_config
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.reading import ends, mends_itself, readable_ends
from streams.kafka.topics import load_topics
from streams.settings import Settings

OUTPUTS: Final = ("auto_action", "human_review", "dead_letter")


class Unread(NamedTuple):
    """A partition that is not read to its end: as far as it was read, as far as it may be (last stable offset), its high watermark."""

    topic: str
    partition: int
    reached: int
    readable: int
    end: int

    def __str__(self) -> str:
        """What is unread, and what holds it: clients can't ask for the producer's name, Kafka's own tool can."""
        parts = []
        if self.reached < self.readable:
            parts.append(f"{self.readable - self.reached} may be read and were not")
        if self.readable < self.end:
            parts.append(
                f"{self.end - self.readable} stand behind a transaction that is open from {self.readable} on "
                f"(kafka-transactions.sh describe-producers --topic {self.topic} --partition {self.partition} says whose)"
            )
        return f"{self.topic}, partition {self.partition}: read up to {self.reached} of {self.end} offsets, {', '.join(parts)}"


class OutputReader:
    """Hands each record on as `take(role, message, seconds of the clock)`, on the thread that runs it."""

    def __init__(
        self, settings: Settings, take: Callable[[str, Consumed, float], None], roles: Iterable[str] = OUTPUTS
    ) -> None:
        topics = load_topics(settings.topic_prefix)
        self._settings = settings
        self._take = take
        self._roles = {topics[role].name: role for role in roles}
        self._partitions = {name: range(topics[role].partitions) for name, role in self._roles.items()}
        self._reached = {(name, partition): 0 for name, numbers in self._partitions.items() for partition in numbers}
        self._stop = threading.Event()
        self.last_read = time.monotonic()

    def run(self) -> None:
        """Read until told to stop. Raises StreamError on an error that waiting does not mend."""
        cut_off = CutOff(self._settings, next(iter(self._partitions)))
        consumer = self._consumer()
        try:
            while not self._stop.is_set():
                messages = consume(consumer, 1000, 0.05)
                for message in messages:
                    self._read(message)
                if not messages and cut_off.look(consumer):
                    discard(consumer.close)
                    consumer = self._consumer()
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        """A client that reads on from where the last one got to."""
        consumer = Consumer({"reconnect.backoff.max.ms": 500, **reader_config(self._settings), "fetch.wait.max.ms": 10})
        consumer.assign(
            [TopicPartition(*place, reached or OFFSET_BEGINNING) for place, reached in self._reached.items()]
        )
        return consumer

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def unread(self) -> list[Unread]:
        """The partitions of which not everything has been read that stands there now. Raises BrokerError."""
        found = []
        for name, numbers in self._partitions.items():
            high = ends(self._settings, name, numbers)
            behind = [number for number in numbers if self._reached[name, number] < high[number]]
            stable = readable_ends(self._settings, name, behind) if behind else {}
            # Looked up once more, later than the end: it may have been reached meanwhile.
            reached = {number: self._reached[name, number] for number in behind}
            found += [
                Unread(name, number, at, max(stable[number], at), high[number])
                for number, at in reached.items()
                if at < high[number]
            ]
        return found

    def _read(self, message: Consumed) -> None:
        error = message.error()
        if error is None:
            self.last_read = time.monotonic()
            self._take(self._roles[message.topic()], message, self.last_read)
            self._reached[message.topic(), message.partition()] = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            self._reached[message.topic(), message.partition()] = message.offset()
        elif not mends_itself(error):
            raise StreamError(f"cannot read what was decided: {error.str()}")
