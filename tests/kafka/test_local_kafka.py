"""The local Kafka: a real broker that can be stopped, killed and found again."""

from itertools import count

import pytest
from confluent_kafka import Consumer, Producer

from streams.kafka.topics import create_topics, load_topics
from streams.trials.brokers import LocalKafka

NUMBERS = count()


@pytest.fixture
def topic(own_kafka: LocalKafka) -> str:
    """Give a topic of the test's own."""
    own = load_topics(f"{next(NUMBERS)}.")["requests"]
    create_topics({"bootstrap.servers": own_kafka.bootstrap}, {"requests": own})
    return own.name


def produce(bootstrap: str, topic: str, value: bytes, *, commit: bool = True) -> None:
    """Send one record in a transaction, and commit or abort it."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.flush(60)
    if commit:
        producer.commit_transaction(60)
    else:
        producer.abort_transaction(60)


def consume(bootstrap: str, topic: str) -> bytes:
    """Return the first committed record."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([topic])
    message = consumer.poll(60)
    consumer.close()
    assert message is not None
    return bytes(message.value())


def test_an_aborted_record_is_not_read(own_kafka: LocalKafka, topic: str) -> None:
    """Transactions are real: a consumer of committed records never sees an aborted one."""
    produce(own_kafka.bootstrap, topic, b"aborted", commit=False)
    produce(own_kafka.bootstrap, topic, b"committed")
    assert consume(own_kafka.bootstrap, topic) == b"committed"


def test_records_survive_a_restart(own_kafka: LocalKafka, topic: str) -> None:
    """After a restart the cluster is at the same address with the same records."""
    produce(own_kafka.bootstrap, topic, b"kept")
    own_kafka.restart()
    assert consume(own_kafka.bootstrap, topic) == b"kept"


def test_records_survive_a_kill(own_kafka: LocalKafka, topic: str) -> None:
    """A node that was killed comes back with every committed record."""
    produce(own_kafka.bootstrap, topic, b"kept")
    own_kafka.kill()
    assert own_kafka.pids == {}
    own_kafka.start()
    assert consume(own_kafka.bootstrap, topic) == b"kept"
