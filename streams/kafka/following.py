"""Topics followed for onlookers: by no group, without a trace, on through an outage; what stood before is read as far as is asked."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.kafka.clients import Consumed, consume, legible, reader_config
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.reading import mends_itself, places_of, unreadable, watermarks
from streams.kafka.recent import offsets_at
from streams.settings import Settings

_AT_ONCE: Final = 1000
_PATIENT: Final = {"reconnect.backoff.max.ms": 1000, "enable.partition.eof": True, "fetch.queue.backoff.ms": 10}


class Heard(NamedTuple):
    """A record with the role of its topic. `live`: it came when its partition had been read to the end."""

    role: str
    message: Consumed
    live: bool


class Follower:
    """Committed records of the topics of some roles, as they come. One thread.

    It begins at the ends; with `last`, so many offsets before them in each partition; with `since` (ms), at that time. Raises TopicError
    where a topic is missing, BrokerError.
    """

    def __init__(self, settings: Settings, roles: Iterable[str], *, last: int = 0, since: int | None = None) -> None:
        self._settings = settings
        self._role_of: dict[str, str] = {}
        self._next: dict[tuple[str, int], int] = {}
        self._reached: set[tuple[str, int]] = set()
        for role, (topic, partitions) in places_of(settings, *roles).items():
            self._role_of[topic] = role
            for number, (low, high) in watermarks(settings, topic, partitions).items():
                self._next[topic, number] = max(low, high - last)
        self._consumer = Consumer({**reader_config(settings), **_PATIENT})
        if since is not None:
            self._go_to(since)
        self._cut_off = CutOff(settings, next(iter(self._role_of)))
        self._assign()

    def poll(self, timeout: float = 0.2) -> list[Heard]:
        """What comes within `timeout` seconds; nothing while the brokers are away. Raises BrokerError on what waiting does not mend."""
        found = []
        messages = consume(self._consumer, _AT_ONCE, timeout)
        for message in messages:
            error, place = message.error(), (message.topic(), message.partition())
            if error is None:
                self._next[place] = message.offset() + 1
                found.append(Heard(self._role_of[message.topic()], legible(message), place in self._reached))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._next[place] = max(self._next[place], message.offset())
                self._reached.add(place)
            elif not mends_itself(error):
                raise unreadable(message.topic(), error)
        if not messages and self._cut_off.look(self._consumer):
            discard(self._consumer.close)
            self._consumer = Consumer({**reader_config(self._settings), **_PATIENT})
            self._assign()
        return found

    def skip(self, but: int) -> dict[str, int]:
        """Go on `but` records before the ends, for who shows what is now; how many records of each role that passes by."""
        skipped: dict[str, int] = {}
        for place, reached in self._next.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            if high - but > reached:
                self._next[place] = high - but
                role = self._role_of[place[0]]
                skipped[role] = skipped.get(role, 0) + high - but - reached
        if skipped:
            self._assign()
        return skipped

    @property
    def caught_up(self) -> bool:
        """Whether every partition has been read to an end."""
        return len(self._reached) == len(self._next)

    def lag(self) -> int:
        """Records not yet read, as far as the client knows."""
        lag = 0
        for place, reached in self._next.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            lag += max(0, high - reached)
        return lag

    def close(self) -> None:
        """Let go of the broker."""
        discard(self._consumer.close)

    def _go_to(self, since: int) -> None:
        for topic in self._role_of:
            numbers = [number for name, number in self._next if name == topic]
            for number, offset in offsets_at(self._consumer, topic, numbers, since).items():
                if offset >= 0:
                    self._next[topic, number] = offset

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
