"""Header names that are not UTF-8, with the client itself: a double of it would prove nothing."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.kafka.clients import legible
from streams.kafka.consumer import GroupConsumer
from streams.kafka.topics import Topic
from streams.pipeline.records import REQUESTS
from streams.settings import Settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.odd_headers import OddProducer

TOPIC = Topic("requests", "in.requests", 1, {}, "")


def send(broker: EmbeddedBroker, topic: str, key: bytes, value: bytes, *names: bytes) -> None:
    """One record, stored when this returns."""
    producer = OddProducer(Settings(broker=broker.bootstrap))
    producer.send(topic, key, value, *names)
    producer.flush(10)
    producer.close()


def consumed(bootstrap: str, count: int) -> list[Any]:
    """What the client gives for the topic's first records."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    client.assign([TopicPartition(TOPIC.name, 0)])
    messages = [client.poll(10) for _ in range(count)]
    client.close()
    return messages


@pytest.mark.parametrize(
    "names",
    [(b"a", b"caf\xe9", b"z"), (b"caf\xe9", b"a", b"\xff\xfe"), (b"\xff",) * 3000],
    ids=["one", "two", "thousands"],
)
@pytest.mark.parametrize("before", [0, 200], ids=["at first", "once the interpreter has specialised the call"])
def test_a_name_that_is_not_utf_8_is_noticed(before: int, names: tuple[bytes, ...]) -> None:
    """And its record is told from the others; the gate makes a dead letter of it."""
    with EmbeddedBroker([TOPIC]) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for _ in range(before):
            producer.produce(TOPIC.name, b"good", headers=[("a", b"b")])
        assert 0 == producer.flush(10)
        send(broker, TOPIC.name, b"key", b"bad", *names)
        messages = consumed(broker.bootstrap, before + 1)

    def consume(count: int, timeout: float) -> list[Any]:  # noqa: ARG001 - as the client's
        given, messages[:count] = messages[:count], []
        return given

    client = SimpleNamespace(consume=consume)
    reader = GroupConsumer(Settings(), {TOPIC.name: REQUESTS}, MagicMock(), lambda _config: client)  # type: ignore[arg-type,return-value]
    *good, bad = reader.fetch().records
    assert [[("a", b"b")]] * before == [record.headers for record in good]
    assert (b"key", b"bad", None, True) == (bad.key, bad.value, bad.headers, bad.headers_unreadable)


def test_tools_show_such_a_record_without_its_headers() -> None:
    """They ask for headers again and again, which would end the process."""
    with EmbeddedBroker([TOPIC]) as broker:
        send(broker, TOPIC.name, b"key", b"bad", b"caf\xe9")
        (message,) = consumed(broker.bootstrap, 1)
    assert (b"bad", []) == (legible(message).value(), legible(message).headers())
