"""What a user's producers and consumers do to a stream, for the tests that run workers."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from scoring import RECORDING, Item, read_recording
from streams.kafka.topics import Topic, load_topics
from streams.pipeline.pending import PartitionStore

ITEMS = read_recording(RECORDING)[:40]
IDS = sorted(item.request_id for item in ITEMS)
TRACE = [("traceparent", b"00-ab")]


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what somebody else is about to do."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def send(
    bootstrap: str,
    items: Sequence[Item] = ITEMS,
    *,
    prefix: str = "",
    every: float = 0.0,
    requests: bool = True,
    responses: bool = True,
) -> None:
    """Produce requests with a trace header, and the providers' bare bodies; each is stored before the next."""
    topics = load_topics(prefix)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for item in items:
        key = item.request_id.encode()
        if requests:
            producer.produce(topics["requests"].name, orjson.dumps(item.request), key, headers=dict(TRACE))
        if responses:
            producer.produce(topics["responses"].name, bytes(item.response), key)
        producer.flush(5)
        time.sleep(every)


def read(bootstrap: str, roles: Sequence[str], *, count: int, prefix: str = "", timeout: float = 30.0) -> list[Any]:
    """At least `count` committed records of these topics, and whatever else comes within a second after."""
    topics = load_topics(prefix)
    config = {"bootstrap.servers": bootstrap, "group.id": f"{prefix}test", "auto.offset.reset": "earliest"}
    consumer = Consumer({**config, "enable.partition.eof": True, "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topics[role].name, p, 0) for role in roles for p in range(topics[role].partitions)])
    messages: list[Any] = []
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for message in consumer.consume(100, 0.1):
            if message.error() is None:
                messages.append(message)
                if len(messages) >= count:
                    deadline = min(deadline, time.monotonic() + 1)
            else:
                assert KafkaError._PARTITION_EOF == message.error().code()
    consumer.close()
    return messages


def everything(bootstrap: str, topic: Topic, *, isolation: str = "read_committed") -> list[Any]:
    """Every record of a topic that can be seen now."""
    config = {"bootstrap.servers": bootstrap, "group.id": "test", "enable.partition.eof": True}
    consumer = Consumer({**config, "auto.offset.reset": "earliest", "isolation.level": isolation})
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
    records, open_partitions = [], topic.partitions
    while open_partitions:
        message = consumer.poll(30)
        assert message is not None
        if message.error() is None:
            records.append(message)
        else:
            open_partitions -= 1
    consumer.close()
    return records


def await_waiting(bootstrap: str, count: int, *, prefix: str = "", timeout: float = 30.0) -> None:
    """Wait until the changelog says that so many requests wait: a worker that comes now finds them."""
    deadline = time.monotonic() + timeout
    store = PartitionStore(0, dedup_window=10_000)
    while len(store.requests) < count:
        assert time.monotonic() < deadline, f"only {len(store.requests)} wait"
        for message in read(bootstrap, ("pending",), count=1, prefix=prefix):
            store.apply(message.key(), message.value())


def decisions(bootstrap: str, count: int = len(ITEMS), **options: Any) -> list[dict[str, Any]]:
    """Every decision, in whatever order."""
    return [
        orjson.loads(one.value()) for one in read(bootstrap, ("auto_action", "human_review"), count=count, **options)
    ]


def ids(found: Sequence[dict[str, Any]]) -> list[str]:
    """The ids of what was decided: equal to `IDS` when each was decided once."""
    return sorted(decision["request_id"] for decision in found)
