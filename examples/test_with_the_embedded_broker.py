"""The matcher embedded in a test of your own: real Kafka clients, the embedded broker, no worker and no model.

Run as `pytest examples/test_with_the_embedded_broker.py`.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.kafka import load_topics
from streams.pipeline import REQUESTS, RESPONSES, Arrivals, Limits, Matcher, PartitionStore, Record
from streams.trials.brokers import EmbeddedBroker

RESPONSE = (Path(__file__).parent / "response.json").read_bytes()
TOPICS = load_topics()
ROLE = {TOPICS[role].name: role for role in (REQUESTS, RESPONSES)}


@pytest.fixture
def bootstrap() -> Iterator[str]:
    """The address of a broker with every topic, which goes with the test."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


def read(bootstrap: str, count: int) -> list[Record]:
    """The first `count` records of both input topics, as the pipeline takes them."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "my-test"})
    consumer.assign([TopicPartition(name, p, 0) for name in ROLE for p in range(TOPICS[REQUESTS].partitions)])
    records: list[Record] = []
    deadline = time.monotonic() + 30
    while len(records) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(records), timeout=1.0):
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if message.error() is None and topic is not None and partition is not None and offset is not None:
                _, timestamp = message.timestamp()
                role = ROLE[topic]
                records.append(Record(role, partition, offset, timestamp, message.key(), message.value(), None))
    consumer.close()
    return records


def test_a_gateways_bare_response_meets_its_request(bootstrap: str) -> None:
    """What my gateway produces, under the request's id as key, is matched with the request and read."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    producer.produce(TOPICS[RESPONSES].name, RESPONSE, b"c-1")
    producer.produce(TOPICS[REQUESTS].name, json.dumps({"request_id": "c-1", "policy": "hate"}).encode(), b"c-1")
    assert producer.flush(30) == 0

    records = read(bootstrap, 2)
    stores = {record.partition: PartitionStore(record.partition, dedup_window=60_000) for record in records}
    matcher = Matcher(response_timeout=60_000, limits=Limits(1_000, 2**20, 1_000))
    offsets = {(record.source, record.partition): record.offset + 1 for record in records}
    matched = matcher.match(stores, Arrivals(records, offsets, frontiers={}), now=records[0].timestamp)

    assert matched.dead == []
    (case,) = matched.cases
    assert (case.request_id, case.policy, case.reason) == ("c-1", "hate", None)
    assert case.response is not None
    assert case.response.llm == "example-moderator"
