"""The last records of a topic, for commands that look back a little."""

import heapq
from collections.abc import Iterable, Iterator
from contextlib import closing
from operator import itemgetter

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka.clients import kafka_error, reader_config
from streams.kafka.reading import broker_stamp, read_to_end, watermarks
from streams.kafka.troubles import failed
from streams.settings import Settings

_TIMEOUT = 10.0


def read_recent(
    settings: Settings, topic: str, partitions: Iterable[int], *, last: int, since: int | None = None
) -> list[tuple[int, bytes]]:
    """The last committed records, the oldest first, each its time (ms) and value: at most `last`, none from before `since` (ms).

    Raises BrokerError.
    """
    # A transaction leaves a marker behind each of its batches, which may be of one record.
    stored = enumerate(_read(settings, topic, partitions, since, at_most=2 * last))
    found = ((stamp, number, value) for number, (stamp, value) in stored)
    newest = heapq.nlargest(last, found, key=itemgetter(0, 1))
    return [(stamp, value) for stamp, _, value in reversed(newest) if since is None or stamp >= since]


def read_since(settings: Settings, topic: str, partitions: Iterable[int], since: int) -> Iterator[bytes]:
    """The values of the committed records from a time (ms) on, one at a time: they may be large. Raises BrokerError."""
    # A transaction's marker has the time at which it ended, so older records may come with it.
    return (value for stamp, value in _read(settings, topic, partitions, since) if stamp >= since)


def _read(
    settings: Settings, topic: str, partitions: Iterable[int], since: int | None, at_most: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Time (ms) and value of the committed records: about those since a time, of each partition's last `at_most` offsets."""
    bounds = watermarks(settings, topic, partitions)
    start = {number: low if at_most is None else max(low, high - at_most) for number, (low, high) in bounds.items()}
    until = {number: high for number, (_, high) in bounds.items()}
    with closing(Consumer(reader_config(settings))) as consumer:
        if since is not None:
            for number, offset in offsets_at(consumer, topic, start, since).items():
                start[number] = max(start[number], offset) if offset >= 0 else until[number]
        for message in read_to_end(consumer, topic, until, start):
            yield broker_stamp(message) or 0, message.value() or b""


def offsets_at(consumer: Consumer, topic: str, partitions: Iterable[int], stamp: int) -> dict[int, int]:
    """The first offset of each partition from a time on; below 0 where there is none."""
    wanted = [TopicPartition(topic, partition, stamp) for partition in partitions]
    try:
        found = consumer.offsets_for_times(wanted, timeout=_TIMEOUT)
    except KafkaException as problem:
        raise failed(
            f"cannot find where {topic} was at that time", kafka_error(problem), f"Describe {topic}"
        ) from problem
    return {one.partition: one.offset for one in found}
