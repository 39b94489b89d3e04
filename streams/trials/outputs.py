"""Reads what comes out of the stream: committed decisions and dead letters, all of them from the first one on."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from streams.errors import StreamError
from streams.kafka.clients import Consumed, consume, reader_config
from streams.kafka.reading import ends, mends_itself
from streams.kafka.topics import load_topics
from streams.settings import Settings

OUTPUTS: Final = ("auto_action", "human_review", "dead_letter")


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
        consumer = Consumer({"reconnect.backoff.max.ms": 500, **reader_config(self._settings), "fetch.wait.max.ms": 10})
        try:
            consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING) for name, partition in self._reached])
            while not self._stop.is_set():
                for message in consume(consumer, 1000, 0.05):
                    self._read(message)
        finally:
            consumer.close()

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def caught_up(self) -> bool:
        """Whether everything that stands in the topics now has been read."""
        return all(
            self._reached[name, partition] >= end
            for name, numbers in self._partitions.items()
            for partition, end in ends(self._settings, name, numbers).items()
        )

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
