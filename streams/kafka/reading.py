"""Reading a topic's partitions from the beginning to the end they had when we began."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streams.errors import BrokerError
from streams.kafka.admin import metadata
from streams.kafka.clients import Consumed, base_config, consume, kafka_error, reader_config
from streams.kafka.topics import create_command, denied_topics, existing_partitions, load_topics
from streams.kafka.troubles import SILENT, failed
from streams.pipeline.control_signing import HEADER
from streams.settings import Settings

log = logging.getLogger(__name__)

_CALL_TIMEOUT = 10.0
_FIRST_TIMEOUT = 2.0
"""Seconds after which it is asked whether anybody answers at all."""
_AT_ONCE = 100
"""Records taken from the client in one call: those of the changelog may be large."""
_SAY_EVERY = 5.0
_MOVING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
"""A topic that was just made, or a partition that changes its broker."""
_MISSING = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001 - public names
)
_FROM_THE_BEGINNING: Mapping[int, int] = MappingProxyType({})


def places_of(settings: Settings, *roles: str) -> dict[str, tuple[str, range]]:
    """The name and the partitions of the topics of these roles. Raises TopicError where one is missing, BrokerError."""
    every = load_topics(settings.topic_prefix)
    wanted = {role: every[role] for role in roles}
    partitions = existing_partitions(base_config(settings), wanted)
    return {role: (topic.name, partitions[role]) for role, topic in wanted.items()}


def ends(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The high watermark of each partition, records of open transactions included. Raises BrokerError."""
    return {partition: high for partition, (_, high) in watermarks(settings, topic, partitions).items()}


def readable_ends(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The last stable offset of each partition: what follows stands behind an open transaction. Raises BrokerError."""
    marks = watermarks(settings, topic, partitions, isolation="read_committed")
    return {partition: stable for partition, (_, stable) in marks.items()}


def watermarks(
    settings: Settings, topic: str, partitions: Iterable[int], *, isolation: str = "read_uncommitted"
) -> dict[int, tuple[int, int]]:
    """The first offset that each partition still holds, and its end for readers of this isolation. Raises BrokerError."""
    wanted = [TopicPartition(topic, partition) for partition in partitions]
    config = reader_config(settings, isolation=isolation)
    with closing(Consumer(config)) as consumer:
        try:
            return _all_watermarks(consumer, wanted, _FIRST_TIMEOUT)
        except KafkaException as problem:
            if kafka_error(problem).code() not in SILENT:
                raise _no_watermarks(settings, topic, kafka_error(problem)) from problem
        metadata(base_config(settings), _CALL_TIMEOUT)  # says why nobody answers, if nobody does
        try:
            return _all_watermarks(consumer, wanted, _CALL_TIMEOUT)
        except KafkaException as problem:
            raise _no_watermarks(settings, topic, kafka_error(problem)) from problem


def _all_watermarks(
    consumer: Consumer, partitions: Iterable[TopicPartition], timeout: float
) -> dict[int, tuple[int, int]]:
    return {one.partition: _watermarks(consumer, one, timeout) for one in partitions}


def _no_watermarks(settings: Settings, topic: str, error: KafkaError) -> BrokerError:
    if error.code() in _MISSING:
        error = _missing_or_denied(settings, topic)
    return failed(f"cannot find the end of {topic}", error, f"Describe {topic}")


def _missing_or_denied(settings: Settings, topic: str) -> KafkaError:
    """The client says the same of a topic that is missing and of one that this user may not describe."""
    if denied_topics(base_config(settings), [topic], _CALL_TIMEOUT):
        return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    command = create_command(settings.broker, settings.topic_prefix)
    return KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"it is missing on {settings.broker}. Mend it: {command}")


def _watermarks(consumer: Consumer, partition: TopicPartition, timeout: float) -> tuple[int, int]:
    deadline = time.monotonic() + _CALL_TIMEOUT
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=timeout)
        except KafkaException as problem:
            if kafka_error(problem).code() not in _MOVING or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return int(low), int(high)


def broker_stamp(message: Consumed) -> int | None:
    """The time (ms) that a record carries: the broker's where the topic is stamped by it, else its producer's."""
    kind, stamp = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE else int(stamp)


def signature(message: Consumed) -> bytes | None:
    """The last signature in a control message's headers."""
    try:
        headers = message.headers() or ()
    except UnicodeDecodeError:  # not as we write them
        return None
    return next((value for name, value in reversed(list(headers)) if name == HEADER), None)


def read_to_end(
    consumer: Consumer,
    topic: str,
    until: Mapping[int, int],
    start: Mapping[int, int] = _FROM_THE_BEGINNING,
    *,
    patience: float = 60.0,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Consumed]:
    """Assign the partitions and yield what stands in each from its offset in `start` up to its offset in `until`.

    What was fetched with it is yielded too. Waits for transactions that stand open below that offset to be resolved: what
    was committed behind them would be missed otherwise. Ends early when `stopping`. Raises BrokerError on an error that
    waiting does not mend, and when nothing has come for `patience` seconds.
    """
    consumer.assign([TopicPartition(topic, one, start.get(one, OFFSET_BEGINNING)) for one in until])
    reached = {partition: start.get(partition, 0) for partition in until}
    missing = {partition for partition, end in until.items() if end > reached[partition]}
    progress = _Progress(topic, patience)
    while missing and not stopping():
        for message in consume(consumer, _AT_ONCE, 0.1):
            error, partition = message.error(), message.partition()
            if error is None:
                yield message
                reached[partition] = message.offset() + 1
                progress.read()
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                reached[partition] = message.offset()
            elif not mends_itself(error):
                raise unreadable(topic, error)
            if partition in until and reached[partition] >= until[partition]:
                missing.discard(partition)
        progress.check({partition: (reached[partition], until[partition]) for partition in missing})


def read_once(
    settings: Settings,
    topic: str,
    until: Mapping[int, int],
    start: Mapping[int, int] = _FROM_THE_BEGINNING,
    *,
    patience: float = 60.0,
) -> Generator[Consumed]:
    """As `read_to_end`, by a consumer of its own, which belongs to no group and leaves no trace: committed records only."""
    with closing(Consumer(reader_config(settings))) as consumer:
        yield from read_to_end(consumer, topic, until, start, patience=patience)


def holds_records(
    settings: Settings, topic: str, partition: int, gaps: Sequence[tuple[int, int]], *, patience: float
) -> bool:
    """Whether a reader of committed records finds any in one of these [start, end), in rising order.

    Raises BrokerError when it finds none and does not come to the end within `patience` seconds.
    """
    until, start = {partition: gaps[-1][1]}, {partition: gaps[0][0]}
    with closing(read_once(settings, topic, until, start, patience=patience)) as found:
        return any(first <= message.offset() < end for message in found for first, end in gaps)


def mends_itself(error: KafkaError) -> bool:
    """Whether a reader that meets this error reads on by itself once the brokers are well.

    One that belongs to no group has a group's name all the same, after whose coordinator the client asks: without a right to that
    group it reads as well.
    """
    harmless = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError.GROUP_AUTHORIZATION_FAILED)  # noqa: SLF001
    return error.retriable() or error.code() in harmless


def unreadable(topic: str, error: KafkaError) -> BrokerError:
    """An error that waiting does not mend, and what to do."""
    return failed(f"cannot read {topic}", error, f"Read {topic}")


class _Progress:
    """Says how reading goes on, and gives up on a partition that nothing more comes from."""

    def __init__(self, topic: str, patience: float) -> None:
        self._topic, self._patience = topic, patience
        self._count = self._counted = 0
        self._moved = self._said = time.monotonic()

    def read(self) -> None:
        self._count += 1

    def check(self, missing: Mapping[int, tuple[int, int]]) -> None:
        now = time.monotonic()
        if self._count != self._counted:
            self._moved, self._counted = now, self._count
        if now - self._said < _SAY_EVERY or not missing:
            return
        self._said = now
        where = ", ".join(f"{number} at {at} of {end}" for number, (at, end) in sorted(missing.items()))
        log.info("reading %s: %d records, partition %s", self._topic, self._count, where)
        if now - self._moved > self._patience:
            raise BrokerError(
                f"nothing more could be read from {self._topic} for {self._patience:g} s, partition {where}: a transaction "
                "that is still open stands before the rest (kafka-transactions.sh find-hanging, abort), or its broker is away"
            )


def read_values(settings: Settings, topic: str, partitions: Iterable[int]) -> Iterator[bytes]:
    """The value of every committed record that the partitions hold now, those of one partition in their order.

    Empty where a record has none.
    """
    for message in read_once(settings, topic, ends(settings, topic, partitions)):
        yield message.value() or b""
