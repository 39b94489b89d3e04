"""Both ways of delivering, each with a client that fails as it is told to, and a batch to deliver."""

from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaError

from streams.kafka.delivery import AtLeastOnce, ExactlyOnce
from streams.pipeline.records import REQUESTS, RESPONSES, Output
from streams.pipeline.stages import Outbox, Ticket
from streams.settings import Settings
from tests.rig import assignment
from tests.streams.kafka.faulty_clients import Fault, FaultyConsumer, FaultyProducer, away

NAMES = {role: role for role in (REQUESTS, RESPONSES, "auto_action", "vectors", "pending")}
OFFSETS = {(REQUESTS, 0): 7, (RESPONSES, 0): 9}
STEPS = ["begin", "offsets", "produce auto_action", "produce vectors", "produce pending", "commit"]
SAFE_STEPS = ["produce auto_action", "produce vectors", "flush", "produce pending", "flush", "commit offsets"]
WRITTEN = ["decision", "vector", "tombstone"]
PERMANENT = {
    "topic authorisation": KafkaError.TOPIC_AUTHORIZATION_FAILED,
    "group authorisation": KafkaError.GROUP_AUTHORIZATION_FAILED,
    "unknown topic": KafkaError.UNKNOWN_TOPIC_OR_PART,
    "too large": KafkaError.MSG_SIZE_TOO_LARGE,
}
FATAL = {
    "fenced by the client": KafkaError._FENCED,
    "fenced by the broker": KafkaError.PRODUCER_FENCED,
    "out of step with the coordinator": KafkaError.INVALID_TXN_STATE,
}


def exactly_once() -> tuple[ExactlyOnce, FaultyProducer]:
    way = ExactlyOnce(Settings(instance_id="pod-1"), NAMES)
    return way, double(way)


def at_least_once() -> tuple[AtLeastOnce, FaultyProducer, FaultyConsumer]:
    consumer = FaultyConsumer(lambda: double(way).faults)
    way: AtLeastOnce = AtLeastOnce(Settings(), NAMES, consumer.commit)
    return way, double(way), consumer


def double(way: Any) -> FaultyProducer:
    producer: FaultyProducer = way._producer
    return producer


def outbox(**changes: Any) -> Outbox:
    outputs = [Output("auto_action", b"r1", b"decision"), Output("vectors", b"r1", b"vector")]
    parts = {"ticket": Ticket(1, assignment(), OFFSETS, 0.0), "outputs": outputs}
    return Outbox(**{**parts, "changelog": [Output("pending", b"r1", b"tombstone")], **changes})


def until_closed(way: Any, calls: int = 3, fault: Callable[[], Fault] = away) -> Iterator[Fault]:
    """A fault that does not end; the worker is told to stop at the call of this number."""
    while True:
        calls -= 1
        if calls == 0:
            way.close()
        yield fault()


def read_offsets(client: Any) -> dict[tuple[str, int], int]:
    return {(one.topic, one.partition): one.offset for one in client.offsets}
