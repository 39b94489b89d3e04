"""How far a group has come in its input topics, asked from outside: committed offsets beside the ends. It joins no group."""

from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.kafka.clients import group_name, kafka_error, reader_config
from streams.kafka.cut_off import CutOff, discard
from streams.kafka.reading import places_of
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.settings import Settings

_TIMEOUT: Final = 2.0


class Reached(NamedTuple):
    """Of a partition the committed offset (None: none yet), and its end."""

    committed: int | None
    end: int


class GroupProgress:
    """Asks for it again and again. One thread. Raises TopicError where a topic is missing, BrokerError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._roles: dict[str, str] = {}
        self._places: list[TopicPartition] = []
        for role, (topic, partitions) in places_of(settings, REQUESTS, RESPONSES).items():
            self._roles[topic] = role
            self._places += [TopicPartition(topic, number) for number in partitions]
        self._consumer = self._client()
        self._cut_off = CutOff(settings, self._places[0].topic)

    def look(self) -> dict[tuple[str, int], Reached]:
        """By role and partition. Raises BrokerError within seconds where no broker answers, or it may not be known."""
        try:
            committed = self._consumer.committed(self._places, timeout=_TIMEOUT)
            found = {}
            for one in committed:
                if one.error is not None:
                    raise BrokerError(f"how far the group has come in {one.topic} is not known: {one.error.str()}")
                place = TopicPartition(one.topic, one.partition)
                low, end = self._consumer.get_watermark_offsets(place, timeout=_TIMEOUT)
                nothing_yet = int(end) if low == end else None  # where nothing ever stood there is nothing to commit
                reached = Reached(one.offset if one.offset >= 0 else nothing_yet, int(end))
                found[self._roles[one.topic], one.partition] = reached
        except KafkaException as problem:
            if self._cut_off.look(self._consumer):
                discard(self._consumer.close)
                self._consumer = self._client()
            text = kafka_error(problem).str()
            raise BrokerError(f"how far the group has come is not known: {text}") from problem
        return found

    def close(self) -> None:
        """Let go of the broker."""
        discard(self._consumer.close)

    def _client(self) -> Consumer:
        return Consumer({**reader_config(self._settings), "group.id": group_name(self._settings)})
