"""Configurations of the Kafka clients: ours where a guarantee hangs on them, the user's everywhere else."""

import uuid
from collections.abc import Mapping
from functools import lru_cache
from operator import methodcaller
from typing import Final, Protocol, TypeAlias, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from streams.errors import SettingsError
from streams.kafka.troubles import Aside, Ear
from streams.pipeline.records import Headers
from streams.settings import KAFKA_PREFIX, Settings

ClientConfig: TypeAlias = dict[str, object]
"""Options of a client by librdkafka's names; callbacks and a logger beside texts and numbers."""


class Consumed(Protocol):
    """A consumed `confluent_kafka.Message`, whose own type hints call optional what such a record always has."""

    def __len__(self) -> int:
        """Bytes of its value."""

    def topic(self) -> str:
        """Its topic, by its name on the broker."""

    def partition(self) -> int:
        """Its partition."""

    def offset(self) -> int:
        """Its offset, or where the event stands."""

    def timestamp(self) -> tuple[int, int]:
        """The kind of its time, and the time (ms)."""

    def key(self) -> bytes | None:
        """Its key."""

    def value(self) -> bytes | None:
        """Its value."""

    def headers(self) -> Headers | None:
        """Its headers, where each name is known to be UTF-8: see `headers_of`."""

    def error(self) -> KafkaError | None:
        """None, unless it is an event."""


def consume(consumer: Consumer, most: int, timeout: float) -> list[Consumed]:
    """What the client has or gets within `timeout` seconds: records, and events in their guise."""
    return cast("list[Consumed]", consumer.consume(most, timeout=timeout))


_asked_headers: Final = methodcaller("headers")


def headers_of(message: Consumed) -> Headers | None:
    """Its headers. Raises UnicodeDecodeError on a name that is not UTF-8; then they must not be asked for again (see `legible`).

    The client answers with a list that has nothing in the name's place, beside an error that is set and not raised. A call
    by way of `methodcaller` is checked for that; one written out is not, once the interpreter has specialised it: then the
    error comes up in whatever is called next, and who looks into the list brings the process down.
    """
    try:
        return cast("Headers | None", _asked_headers(message))
    except SystemError as problem:
        cause: BaseException | None = problem
        while isinstance(cause, SystemError):  # one more for each further name that is not UTF-8
            cause = cause.__cause__
        if isinstance(cause, UnicodeDecodeError):
            raise cause from None
        raise


def legible(message: Consumed) -> Consumed:
    """The message, as one without headers where their names are not UTF-8: for tools, which only show or refuse it."""
    try:
        headers_of(message)
    except UnicodeDecodeError:
        cast("Message", message).set_headers([])
    return message


OURS: Final = {
    "auto.offset.reset": "a position that is gone must be said, not passed by: see on_data_loss and new_group_from",
    "enable.auto.commit": "offsets are committed with the batch that they belong to",
    "enable.auto.offset.store": "offsets are committed with the batch that they belong to",
    "enable.partition.eof": "requests time out only once a partition is read to its end",
    "group.protocol": "requests and responses must be assigned by range, which is the client's part of the classic protocol",
    "message.max.bytes": "set max_record_bytes instead",
    "partition.assignment.strategy": "requests and responses must be assigned by range to stay co-partitioned",
    "isolation.level": "reading uncommitted records would decide on requests that were taken back",
    "enable.idempotence": "retries could otherwise write a decision twice",
    "transaction.timeout.ms": "set transaction_timeout instead",
    "transactional.id": "set instance_id instead",
    "group.id": "set group instead",
    "group.instance.id": "set instance_id instead",
    "bootstrap.servers": "set broker instead",
    "metadata.broker.list": "set broker instead",
}
"""Options that cannot be given, and why."""

CONSUMER_DEFAULTS: Final[Mapping[str, str | int]] = {
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 3_000,
    "fetch.wait.max.ms": 10,
    # Several batches of large answers; the client's own 64 MB would be memory that no limit of ours counts.
    "queued.max.messages.kbytes": 8 * 1024,
    # That much is worked off in a moment, and the default waits a whole second before it fetches on.
    "fetch.queue.backoff.ms": 10,
    # Of each partition. A megabyte, the client's own, is ten thousand small requests that would wait long for their answers, and of many
    # partitions it is more memory than all else together.
    "max.partition.fetch.bytes": 256 * 1024,
}
"""Of the group consumer: what it has in place of librdkafka's own defaults, unless the user says otherwise."""

PRODUCER_DEFAULTS: Final[Mapping[str, str | int]] = {
    "linger.ms": 0,  # a batch is produced in one go and flushed: there is nothing to wait for
    # The broker answers "concurrent transactions" for a few ms after each commit; the default waits 100 ms then.
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 200,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 1_000_000,
}
"""Of producers, likewise."""


def base_config(settings: Settings) -> ClientConfig:
    """What every client shares: the address, the pass-through options, and a place for librdkafka's log.

    Raises SettingsError on options that the client refuses, or that a guarantee hangs on.
    """
    for option, why in OURS.items():
        if option in settings.kafka:
            raise SettingsError(f"kafka option {option} cannot be set: {why}")
    _try_options(tuple(sorted(settings.kafka.items())))
    ear = Ear(has_login="sasl" in settings.kafka.get("security.protocol", "").lower())
    return {
        "bootstrap.servers": settings.broker,
        "client.id": "secondlook",
        "error_cb": ear,
        "logger": ear,
        **settings.kafka,
    }


def admin_config(config: ClientConfig) -> dict[str, str | int | float | bool]:
    """The same for an admin client, whose type hints know no callbacks; its own log lines are only listened to."""
    ear = config.get("error_cb")
    quiet: ClientConfig = {"logger": Aside(ear)} if isinstance(ear, Ear) else {"log_level": 0}
    return cast("dict[str, str | int | float | bool]", {**config, **quiet})


@lru_cache
def _try_options(options: tuple[tuple[str, str], ...]) -> None:
    """Ask the client itself, which knows every option; without an address it goes nowhere."""
    given = dict(options)
    refusal = _refusal(given)
    if refusal is None:
        return
    # Its words may name an option by its other name, or none: it is the one without which the rest would do.
    culprit = next((name for name in given if _refusal({key: given[key] for key in given if key != name}) is None), "")
    about = "" if culprit in refusal else f"{culprit}: "
    raise SettingsError(
        f"the Kafka client refuses its options (-X, {KAFKA_PREFIX}..., [kafka] in the file): {about}{refusal}"
    )


def _refusal(options: Mapping[str, str]) -> str | None:
    try:
        Producer({**options, "log_level": 0})
    except KafkaException as problem:
        return kafka_error(problem).str().strip()
    return None


def consumer_config(settings: Settings) -> ClientConfig:
    """The group consumer of requests and responses."""
    config: ClientConfig = {
        **CONSUMER_DEFAULTS,
        **base_config(settings),
        "group.id": group_name(settings),
        "auto.offset.reset": "error",  # a position that is not there is never passed by: see streams.pipeline.continuity
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "partition.assignment.strategy": "range",
        "isolation.level": "read_committed",
    }
    if settings.instance_id is not None:
        config["group.instance.id"] = settings.instance_id
    return config


def group_name(settings: Settings) -> str:
    """The consumer group, unlike that of any other pipeline on the cluster."""
    return settings.topic_prefix + settings.group


def reader_config(settings: Settings, *, isolation: str = "read_committed") -> ClientConfig:
    """A consumer that assigns partitions to itself and belongs to no group (librdkafka wants a name all the same)."""
    return {
        "fetch.wait.max.ms": 50,
        "queued.max.messages.kbytes": 16 * 1024,  # what it reads is worked off at once: more would only take memory
        **base_config(settings),
        "group.id": f"{settings.topic_prefix}{settings.group}-reader-{uuid.uuid4().hex[:8]}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": isolation,
    }


def control_reader_config(settings: Settings) -> ClientConfig:
    """A reader that fails where the records that it wants are gone, instead of passing them by: what they said would be missed."""
    return {**reader_config(settings), "auto.offset.reset": "error"}


def producer_config(settings: Settings, **more: object) -> ClientConfig:
    """A producer that neither loses nor reorders; the partitioner is the Java clients' own, for those downstream."""
    return {
        **PRODUCER_DEFAULTS,
        "message.max.bytes": settings.max_record_bytes,
        **base_config(settings),
        "enable.idempotence": True,
        **more,
    }


def transactional_id(settings: Settings) -> str:
    """Stable for a named instance, so that its restart fences what its last life left open.

    No two instances share one, however they and their groups are called: names hold no colon (see `streams.settings`).
    """
    instance = settings.instance_id or uuid.uuid4().hex
    return f"{group_name(settings)}:{instance}"


def kafka_error(problem: KafkaException) -> KafkaError:
    """The KafkaError inside an exception."""
    error: KafkaError = problem.args[0]
    return error
