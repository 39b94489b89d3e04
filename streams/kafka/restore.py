"""Reading a topic's partitions from the beginning to the end they had when we began."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.kafka.clients import Consumed, kafka_error, reader_config
from streams.settings import Settings

log = logging.getLogger(__name__)

_CALL_TIMEOUT = 10.0
_PROGRESS_EVERY = 100_000
_MOVING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
"""A topic that was just made, or a partition that changes its broker."""
_FROM_THE_BEGINNING: Mapping[int, int] = MappingProxyType({})


def ends(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The high watermark of each partition, records of open transactions included."""
    consumer = Consumer(reader_config(settings, isolation="read_uncommitted"))
    try:
        return {partition: _end(consumer, TopicPartition(topic, partition)) for partition in partitions}
    except KafkaException as problem:
        raise BrokerError(f"cannot find the end of {topic}: {kafka_error(problem).str()}") from problem
    finally:
        consumer.close()


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    deadline = time.monotonic() + _CALL_TIMEOUT
    while True:
        try:
            return int(consumer.get_watermark_offsets(partition, timeout=_CALL_TIMEOUT)[1])
        except KafkaException as problem:
            if kafka_error(problem).code() not in _MOVING or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def read_to_end(
    consumer: Consumer, topic: str, until: Mapping[int, int], start: Mapping[int, int] = _FROM_THE_BEGINNING
) -> Iterator[Consumed]:
    """Assign the partitions and yield what stands in each from its offset in `start` up to its offset in `until`.

    What was fetched with it is yielded too. Waits for transactions that stand open below that offset to be resolved: what
    was committed behind them would be missed otherwise. Raises BrokerError on an error that waiting does not mend.
    """
    consumer.assign([TopicPartition(topic, one, start.get(one, OFFSET_BEGINNING)) for one in until])
    missing = {partition for partition, end in until.items() if end > start.get(partition, 0)}
    count, started = 0, time.monotonic()
    while missing:
        message: Consumed
        for message in consumer.consume(1000, timeout=0.1):
            error = message.error()
            if error is None:
                yield message
                count += 1
                reached = message.offset() + 1
                if count % _PROGRESS_EVERY == 0:
                    log.info("reading %s: %d records, %.0f/s", topic, count, count / (time.monotonic() - started))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                reached = message.offset()
            elif error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
                continue
            else:
                raise BrokerError(f"cannot read {topic}: {error.str()}")
            if reached >= until[message.partition()]:
                missing.discard(message.partition())


def read_changelog(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, dict[bytes, bytes]]:
    """The last value of every key of each partition, deleted keys left out."""
    state: dict[int, dict[bytes, bytes]] = {partition: {} for partition in partitions}
    started = time.monotonic()
    for message in _read(settings, topic, state):
        key, value = message.key(), message.value()
        if value is None:
            state[message.partition()].pop(key, None)
        else:
            state[message.partition()][key] = value
    kept = sum(len(one) for one in state.values())
    seconds = round(time.monotonic() - started, 3)
    log.info("restored", extra={"partitions": sorted(state), "entries": kept, "seconds": seconds})
    return state


def read_values(settings: Settings, topic: str, partitions: Iterable[int]) -> Iterator[bytes]:
    """The value of every record, those of one partition in their order; empty where a record has none."""
    return (message.value() or b"" for message in _read(settings, topic, partitions))


def _read(settings: Settings, topic: str, partitions: Iterable[int]) -> Iterator[Consumed]:
    """Every committed record that the partitions hold now; the reader belongs to no group and leaves no trace."""
    until = ends(settings, topic, partitions)
    consumer = Consumer(reader_config(settings))
    try:
        yield from read_to_end(consumer, topic, until)
    finally:
        consumer.close()
