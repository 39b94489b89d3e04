"""The last records of a topic, for commands that look back a little."""

import heapq
from collections.abc import Iterable, Iterator
from operator import itemgetter

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.kafka.clients import kafka_error, reader_config
from streams.kafka.reading import broker_stamp, read_to_end, watermarks
from streams.settings import Settings

_TIMEOUT = 10.0


def read_recent(
    settings: Settings, topic: str, partitions: Iterable[int], *, last: int, since: int | None = None
) -> list[tuple[int, bytes]]:
    """The last committed records, the oldest first, each its time (ms) and value: at most `last`, none from before `since` (ms).

    Raises BrokerError.
    """
    bounds = watermarks(settings, topic, partitions)
    consumer = Consumer(reader_config(settings))
    try:
        start = {
            # A transaction leaves a marker behind each of its batches, which may be of one record.
            partition: max(low, high - 2 * last)
            for partition, (low, high) in bounds.items()
        }
        if since is not None:
            for partition, offset in _offsets_at(consumer, topic, start, since).items():
                start[partition] = max(start[partition], offset) if offset >= 0 else bounds[partition][1]
        until = {partition: high for partition, (_, high) in bounds.items()}
        found = (
            (broker_stamp(one) or 0, number, one.value() or b"")
            for number, one in enumerate(read_to_end(consumer, topic, until, start))
        )
        newest = heapq.nlargest(last, found, key=itemgetter(0, 1))
    finally:
        consumer.close()
    return [(stamp, value) for stamp, _, value in reversed(newest) if since is None or stamp >= since]


def read_since(settings: Settings, topic: str, partitions: Iterable[int], since: int) -> Iterator[bytes]:
    """The values of the committed records from a time (ms) on, one at a time: they may be large. Raises BrokerError."""
    bounds = watermarks(settings, topic, partitions)
    consumer = Consumer(reader_config(settings))
    try:
        start = {
            partition: offset if offset >= 0 else bounds[partition][1]
            for partition, offset in _offsets_at(consumer, topic, bounds, since).items()
        }
        until = {partition: high for partition, (_, high) in bounds.items()}
        for message in read_to_end(consumer, topic, until, start):
            if (broker_stamp(message) or 0) >= since:  # a transaction's marker has the time at which it ended
                yield message.value() or b""
    finally:
        consumer.close()


def _offsets_at(consumer: Consumer, topic: str, partitions: Iterable[int], stamp: int) -> dict[int, int]:
    """The first offset of each partition from a time on; below 0 where there is none."""
    wanted = [TopicPartition(topic, partition, stamp) for partition in partitions]
    try:
        found = consumer.offsets_for_times(wanted, timeout=_TIMEOUT)
    except KafkaException as problem:
        raise BrokerError(f"cannot find where {topic} was at that time: {kafka_error(problem).str()}") from problem
    return {one.partition: one.offset for one in found}
